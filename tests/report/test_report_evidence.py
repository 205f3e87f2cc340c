"""What may be claimed: intervals that hold, verdicts that are rarely wrong, and sentences with the right sign."""

import math
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from golden import study_run
from scipy import stats
from simulated import CLUSTERING, Design, right, rows_of, runs_of

from leafexp.report.evidence.comparisons import Comparison, Verdict, compare
from leafexp.report.evidence.factors import effects
from leafexp.report.evidence.intervals import ALPHA, Parts, accuracy, estimate, variances
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.evidence.power import needed
from leafexp.report.rows.row import Row, make_rows
from leafexp.report.say.answer import answer
from leafexp.report.say.gaps import gap
from leafexp.report.say.q1 import q1
from leafexp.report.say.q3 import q3
from leafexp.report.say.words import plain

LEAVES = np.array([0, 0, 1, 1])
SPLITS = [Design(seeds=seeds, clustering=how, network_effect=effect)
          for seeds, how, effect in ((3, "weak", 0.02), (3, "strong", 0.04), (5, "middle", 0.0), (6, "weak", 0.04),
                                     (6, "strong", 0.01), (10, "middle", 0.02), (15, "weak", 0.01))]  # fmt: skip
FOLDS = [Design(160, seeds, 5, how, effect)
         for seeds, how, effect in ((1, "strong", 0.04), (1, "weak", 0.0), (3, "middle", 0.02))]  # fmt: skip
SEVERAL = [Design(arms=4, clustering="weak", network_effect=0.02), Design(arms=6, clustering="strong", seeds=5)]


def test_the_variance_by_hand() -> None:
    # Two networks, two leaves of two photos. The mean is 1/2; network 1 sums to +1 off it, network 2 to -1.
    values = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    mean, leaf, network, degrees = variances(values, LEAVES)
    assert mean == 0.5
    # Leaf sums 1 and -1; network sums 1 and -1; cells 1, 0, 0, -1; each over 8 predictions squared.
    by_leaf, by_network, by_cell = 2 * (1 + 1) / 64, 2 * (1 + 1) / 64, 2 / 64
    assert leaf == by_leaf
    assert network == pytest.approx(by_leaf + by_network - by_cell - by_leaf)
    added = by_network - by_cell
    assert degrees == pytest.approx((by_leaf + added) ** 2 / (by_leaf**2 / 1 + added**2 / 1))
    found = estimate(values, LEAVES, 3)
    reach = stats.t.ppf(1 - 0.05 / 6, degrees) * math.sqrt(leaf + network)
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach))
    assert (found.leaves, found.networks, found.predictions, found.comparisons) == (2, 2, 8, 3)


def test_one_replicate_of_folds_has_the_degrees_of_its_networks() -> None:
    values = np.full((5, 20), np.nan)
    leaves = np.arange(20) // 2
    random = np.random.default_rng(0)
    for fold in range(5):
        values[fold, 4 * fold : 4 * fold + 4] = random.integers(0, 2, 4)
    found = estimate(values, leaves)
    assert found.degrees == 4
    assert found.predictions == 20


def test_one_network_has_an_interval_over_leaves() -> None:
    found = estimate(np.array([[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]]), np.array([0, 0, 1, 1, 2, 2]))
    assert (found.networks, found.degrees, found.network_variance) == (1, 2, 0)
    assert found.low < found.value == 0.5 < found.high


def test_what_is_always_right_has_an_interval_of_the_leaves() -> None:
    leaves = np.repeat(np.arange(50), 2)
    found = accuracy(np.ones((3, 100)), leaves)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(stats.binomtest(50, 50).proportion_ci(0.95).low)
    equal = estimate(np.zeros((3, 100)), leaves)
    assert equal.low == -equal.high < 0 < equal.high
    assert equal.p == 1


@pytest.mark.parametrize("comparisons", [1, 6])
def test_interval_and_p_can_not_contradict_each_other(comparisons: int) -> None:
    random = np.random.default_rng(comparisons)
    leaves = np.arange(40) // 2
    for _ in range(300):
        ahead = random.uniform(0, 0.4)
        found = estimate(random.choice([-1, 0, 1], (4, 40), p=[0.2, 0.7 - ahead, 0.1 + ahead]), leaves, comparisons)
        assert (found.p < ALPHA) == (found.low > 0 or found.high < 0)


def claims(design: Design, studies: int) -> tuple[float, float]:
    """How often equal arms are told apart, at least once a study, and how often the 95 % interval holds the truth."""
    tested = right(design, studies, np.random.default_rng(1))
    pairs = list(combinations(range(design.arms), 2))
    wrong, held = np.zeros(studies, dtype=bool), []
    for one, other in pairs:
        mean, leaf, network, degrees = variances(tested[:, one] - tested[:, other], design.leaf_of)
        error = np.sqrt(leaf + network)
        wrong |= np.abs(mean) > stats.t.ppf(1 - ALPHA / len(pairs) / 2, degrees) * error
        truth = design.ahead if one == 0 else 0
        held.append(np.abs(mean - truth) <= stats.t.ppf(1 - ALPHA / 2, degrees) * error)
    return float(wrong.mean()), float(np.mean(held))


def test_equal_arms_are_rarely_told_apart_and_intervals_hold() -> None:
    studies = 400
    rates: dict[str, list[float]] = {"few": [], "enough": []}
    for design in [*SPLITS, *FOLDS, *SEVERAL]:
        told, held = claims(design, studies)
        few = design.networks < 5
        bound = 0.10 if few else 0.065
        assert told <= bound + 2.6 * math.sqrt(bound * (1 - bound) / studies), design
        assert held >= (0.88 if few else 0.93) - 2.6 * math.sqrt(0.05 * 0.95 / studies), design
        rates["few" if few else "enough"].append(told)
    assert np.mean(rates["few"]) <= 0.11
    assert np.mean(rates["enough"]) <= 0.065
    assert np.mean(rates["enough"]) >= 0.02, "else nothing would ever be told"


@pytest.mark.parametrize("network_effect", [0.0, 0.006])
def test_a_difference_is_seen_as_often_as_the_printed_numbers_promise(network_effect: float) -> None:
    design, detect = Design(leaves=60, seeds=6, network_effect=network_effect), 0.02
    first = right(design, 200, np.random.default_rng(2))
    found = [estimate(one - other, design.leaf_of) for one, other in first]
    # One study's variances are themselves uncertain: the promise is that of their means.
    means = [float(np.mean([getattr(item.parts, name) for item in found])) for name in ("leaf", "cell", "network")]
    usual = needed(replace(found[0], parts=Parts(*means, True)), detect)
    leaves = int(usual.leaves)
    assert 60 < leaves < 1000
    assert math.isinf(usual.networks), "so few leaves alone hold it back"
    larger = replace(design, leaves=leaves, ahead=detect)
    seen = right(larger, 250, np.random.default_rng(3))
    mean, leaf, network, degrees = variances(seen[:, 0] - seen[:, 1], larger.leaf_of)
    shown = (mean > stats.t.ppf(1 - ALPHA / 2, degrees) * np.sqrt(leaf + network)).mean()
    assert abs(shown - 0.8) <= 0.06 + 0.03  # with the error of 250 studies


def told_apart(rows: list[Row], comparisons: list[Comparison]) -> list[str]:
    found = answer(rows, comparisons)
    questions = [q1(rows, comparisons, found, 0.02), q3(rows, comparisons)]
    said = [found.title, *found.said, *(question.lead for question in questions)]
    said += [sentence for question in questions for point in question.points for sentence in point.said]
    claim = "is (more|.* points? .* more) accurate|^Use |^The gap is"
    return [text for text in map(plain, said) if re.search(claim, text) and not re.search("not decided", text, re.I)]


@pytest.mark.parametrize("arms", [2, 4])
def test_rows_in_sentences_out_equal_arms_are_rarely_called_better(arms: int) -> None:
    design = Design(leaves=60, seeds=6, arms=arms, clustering="strong", network_effect=0.02)
    runs, studies = runs_of(design), 120
    claimed = 0
    for tested in right(design, studies, np.random.default_rng(arms)):
        rows = rows_of(runs, tested, design)
        claimed += bool(told_apart(rows, compare(rows)))
    assert claimed / studies <= 0.065 + 2.6 * math.sqrt(0.065 * 0.935 / studies)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_networks_never_give_a_verdict(seeds: int) -> None:
    design = Design(leaves=60, seeds=seeds, arms=3, ahead=0.06)
    for tested in right(design, 20, np.random.default_rng(0)):
        rows = rows_of(runs_of(design), tested, design)
        comparisons = compare(rows)
        assert {item.verdict for item in comparisons} == {Verdict.TOO_FEW}
        assert told_apart(rows, comparisons) == []


def test_sentences_have_the_sign_of_their_figures() -> None:
    design = Design(leaves=60, seeds=6, arms=4, ahead=0.05, clustering="weak")
    tested = right(design, 1, np.random.default_rng(0))[0]
    for order in ([0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]):
        rows = rows_of(runs_of(design), tested[order], design)
        comparisons = compare(rows)
        accuracies = {row.name: row.accuracy for row in rows}
        for item in comparisons:
            found = gap(item.one, item.other, comparisons)
            assert found is not None
            assert found.value == pytest.approx(abs(item.one.accuracy - item.other.accuracy), abs=1e-6)
            assert found.ahead.accuracy >= found.behind.accuracy
            assert found.low <= found.value <= found.high
            first = item.one.accuracy > item.other.accuracy
            assert item.verdict in (Verdict.NOT_DECIDED, Verdict.ONE_MORE if first else Verdict.OTHER_MORE)
        for text in told_apart(rows, comparisons):
            for one, other in combinations(accuracies, 2):
                if match := re.search(
                    rf"{one} is more accurate than (the )?{other}|{other} is more accurate than (the )?{one}",
                    text,
                    re.I,
                ):
                    ahead = one if match[0].lower().startswith(one.lower()) else other
                    behind = other if ahead == one else one
                    assert accuracies[ahead] > accuracies[behind], text


def test_clustered_leaves_are_not_told_apart_where_as_many_lone_photos_are() -> None:
    random = np.random.default_rng(5)
    leaves = np.repeat(np.arange(40), 4)
    by_leaf = np.repeat(random.choice([-1, 0, 1], (1, 40), p=[0.1, 0.6, 0.3]), 4, axis=1).repeat(6, axis=0)
    by_leaf = by_leaf.astype(float)
    assert estimate(by_leaf, np.arange(160)).low > 0
    assert estimate(by_leaf, leaves).low < 0 < estimate(by_leaf, leaves).value


def test_the_correction_can_undo_a_verdict_and_only_planned_rows_count() -> None:
    design = Design(leaves=60, seeds=6, arms=4, clustering="weak")
    tested = right(design, 1, np.random.default_rng(8))[0]
    rows = rows_of(runs_of(design), tested, design)
    together, alone = compare(rows), compare(rows[:1] + [row for row in rows if row.scratch])
    (pair,) = alone
    same = next(item for item in together if {item.one, item.other} == {pair.one, pair.other})
    assert same.estimate is not None
    assert pair.estimate is not None
    assert (same.estimate.comparisons, pair.estimate.comparisons) == (6, 1)
    assert same.estimate.p == pytest.approx(min(1, 6 * pair.estimate.p))
    assert same.estimate.high - same.estimate.low > pair.estimate.high - pair.estimate.low


def test_an_effect_is_averaged_only_where_it_is_the_same_everywhere() -> None:
    design = Design(leaves=60, seeds=6, arms=4, clustering="weak", network_effect=0.0)
    base = runs_of(replace(design, arms=1))
    cells = [("5", "adam"), ("10", "adam"), ("5", "sgd"), ("10", "sgd")]
    runs = [
        replace(run, params={**run.params, "epochs": epochs, "optimizer.name": name})
        for epochs, name in cells
        for run in base
    ]

    def found(gains: tuple[float, float]) -> Any:
        random = np.random.default_rng(0)
        tested = (random.random((4, 6, 240)) < 0.7).astype(float)
        for low, high, gain in ((0, 1, gains[0]), (2, 3, gains[1])):
            tested[high] = np.maximum(tested[low], random.random((6, 240)) < gain)
        rows = make_rows(runs)
        for row in rows:
            right_in_cell = tested[cells.index((row.param("epochs"), row.param("optimizer.name")))]
            networks = tuple((run.params["seed"], "") for run in row.runs)
            vars(row)["outcomes"] = Outcomes(right_in_cell, tuple(map(str, range(240))), design.leaf_of, networks)
        return {effect.setting: effect for effect in effects(rows, compare(rows))}["epochs"]

    alike, unlike = found((0.3, 0.3)), found((0.6, 0.0))
    assert (alike.low, alike.high) == ("5", "10")
    assert alike.average is not None
    assert alike.average.low > 0
    assert unlike.average is None
    assert [item.estimate.value for item in unlike.pairs if item.estimate][1] == 0


def test_every_clustering_is_tried() -> None:
    assert {design.clustering for design in SPLITS} == set(CLUSTERING)


def test_a_setting_of_the_freeze_strategy_has_an_effect_too_counted_from_its_higher_value() -> None:
    cells = [(momentum, share) for momentum in ("None", "auto") for share in ("0", "0.2")]
    runs = [
        study_run(
            "MobileNetV2_partial",
            seed=seed,
            right=1200 + 90 * (momentum == "auto") + 50 * (share != "0") + seed,
            params={"freeze.phases.tune.batch_norm_momentum": momentum, "freeze.phases.head.epoch_share": share},
        )
        for momentum, share in cells
        for seed in range(3)
    ]
    rows = make_rows(runs)
    found = {effect.setting.rpartition(".")[2]: effect for effect in effects(rows, compare(rows))}
    assert set(found) == {"batch_norm_momentum", "epoch_share"}
    for setting, photos, high in (("batch_norm_momentum", 90, "auto"), ("epoch_share", 50, "0.2")):
        effect = found[setting]
        assert effect.high == high
        for pair in effect.pairs:
            assert pair.one.settings[effect.setting] == high
            assert pair.estimate is not None
            assert pair.estimate.value == pytest.approx(photos / 1519)
            assert pair.estimate.low < pair.estimate.value < pair.estimate.high
            assert pair.verdict is Verdict.ONE_MORE
            assert (pair.one_only, pair.other_only) == (3 * photos, 0)
