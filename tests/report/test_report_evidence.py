"""What may be claimed: intervals that hold, verdicts that are rarely wrong, and sentences with the right sign."""

import math
import re
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from golden import study_run
from scipy import stats
from simulated import CLUSTERING, Design, right, rows_of, runs_of

from leafexp.report.evidence.calibration import calibration
from leafexp.report.evidence.comparisons import Comparison, Verdict, compare
from leafexp.report.evidence.factors import Effect, _average, effects
from leafexp.report.evidence.intervals import ALPHA, Parts, accuracy, estimate, variances
from leafexp.report.evidence.outcomes import Outcomes
from leafexp.report.evidence.power import needed
from leafexp.report.rows.row import Row, make_rows
from leafexp.report.say.answer import answer
from leafexp.report.say.effects import effects_said
from leafexp.report.say.gaps import gap
from leafexp.report.say.q1 import q1
from leafexp.report.say.q3 import q3
from leafexp.report.say.words import plain

LEAVES = np.array([0, 0, 1, 1])
# Networks' seeds and folds, clustering and network effect; the worst cells of the whole table are among them.
CELLS = [Design(seeds=seeds, clustering=how, network_effect=effect, arms=6)
         for seeds, how, effect in ((3, "weak", 0.0), (3, "weak", 0.04), (3, "middle", 0.02), (4, "weak", 0.02),
                                    (5, "weak", 0.02), (6, "weak", 0.04), (6, "strong", 0.01))]  # fmt: skip
CELLS += [Design(160, seeds, 5, how, effect, arms=4)
          for seeds, how, effect in ((1, "weak", 0.04), (2, "weak", 0.04), (2, "strong", 0.0))]  # fmt: skip
# The folds of experiment=every_photo, and of one seed alone.
CELLS += [Design(160, seeds, 5, "middle", effect, arms=2) for seeds in (1, 3) for effect in (0.0, 0.02, 0.04)]
TABLE = [Design(seeds=seeds, clustering=how, network_effect=effect, arms=6)
         for seeds in (3, 4, 5, 6, 10, 15) for how in CLUSTERING for effect in (0.0, 0.01, 0.02, 0.04)]  # fmt: skip
TABLE += [Design(160, seeds, 5, how, effect, arms=6)
          for seeds in (1, 2, 3) for how in CLUSTERING for effect in (0.0, 0.01, 0.02, 0.04)]  # fmt: skip


def test_the_variance_by_hand() -> None:
    # Two networks, two leaves of two photos. The mean is 1/2; network 1 sums to +1 off it, network 2 to -1.
    values = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    seen = variances(values, LEAVES)
    leaf, network, degrees = seen.leaf, seen.network, seen.degrees
    assert seen.mean == 0.5
    # Leaf sums 1 and -1; network sums 1 and -1; cells 1, 0, 0, -1; each over 8 predictions squared.
    by_leaf, by_network, by_cell = 2 * (1 + 1) / 64, 2 * (1 + 1) / 64, 2 / 64
    assert leaf == by_leaf
    assert network == pytest.approx(by_leaf + by_network - by_cell - by_leaf)
    added = by_network - by_cell
    assert degrees == pytest.approx((by_leaf + added) ** 2 / (by_leaf**2 / 1 + added**2 / 1))
    found = estimate(values, LEAVES, 3)
    assert seen.over_networks == by_network
    reach = max(
        stats.t.ppf(1 - 0.05 / 6, degrees) * math.sqrt(leaf + network),
        stats.t.ppf(1 - 0.05 / 6, 1) * math.sqrt(by_network),
    )
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


def claims(design: Design, studies: int) -> tuple[dict[int, float], float]:
    """How often two, four or six equal arms are told apart, once a study or more; how often the 95 % interval holds."""
    told: dict[int, list[np.ndarray]] = {arms: [] for arms in (2, 4, 6) if arms <= design.arms}
    held = []
    random = np.random.default_rng(1)
    for _ in range(studies // 100):
        tested = right(design, 100, random)
        pairs = list(combinations(range(design.arms), 2))
        seen = {pair: variances(tested[:, pair[0]] - tested[:, pair[1]], design.leaf_of) for pair in pairs}
        for arms, found in told.items():
            family = list(combinations(range(arms), 2))
            found.append(np.any([seen[pair].p(len(family)) < ALPHA for pair in family], axis=0))
        held += [np.abs(it.mean) <= it.reach(1) for it in seen.values()]
    return {arms: float(np.mean(found)) for arms, found in told.items()}, float(np.mean(held))


def assert_claims_hold(design: Design, studies: int, errors: float) -> None:
    told, held = claims(design, studies)
    bound = 0.10 if design.networks < 5 else 0.065
    for arms, share in told.items():
        assert share <= bound + errors * math.sqrt(bound * (1 - bound) / studies), (arms, design)
    # One replicate of folds has the degrees of freedom of its few networks: wider than need be where they are alike.
    most = 1.0 if design.folds and design.seeds == 1 else 0.99
    assert 0.93 - errors * math.sqrt(0.05 * 0.95 / studies) <= held <= most, design


@pytest.mark.parametrize("design", CELLS, ids=str)
def test_equal_arms_are_rarely_told_apart_and_intervals_hold(design: Design) -> None:
    assert_claims_hold(design, 200, errors=2.6)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("design", TABLE, ids=str)
def test_equal_arms_are_rarely_told_apart_in_every_design(design: Design) -> None:
    assert_claims_hold(design, 1000, errors=2)


def test_chance_alone_tells_two_arms_apart_at_times() -> None:
    told, _ = claims(Design(seeds=6, clustering="middle", network_effect=0.01), 400)
    assert told[2] >= 0.02, "else intervals are far too wide"


@pytest.mark.parametrize("network_effect", [0.0, 0.006])
def test_a_difference_is_seen_as_often_as_the_printed_numbers_promise(network_effect: float) -> None:
    design, detect = Design(leaves=60, seeds=6, network_effect=network_effect), 0.02
    first = right(design, 200, np.random.default_rng(2))
    found = [estimate(one - other, design.leaf_of) for one, other in first]
    # One study's variances are themselves uncertain: the promise is that of their means.
    names = ("leaf", "cell", "network", "over_networks")
    means = [float(np.mean([getattr(item.parts, name) for item in found])) for name in names]
    usual = needed(replace(found[0], parts=Parts(*means, True)), detect)
    leaves = int(usual.leaves)
    assert 60 < leaves < 1000
    assert math.isinf(usual.networks), "so few leaves alone hold it back"
    assert abs(shown(replace(design, leaves=leaves, ahead=detect)) - 0.8) <= 0.06 + 0.03  # error of 250 studies


@pytest.mark.parametrize(
    ("design", "comparisons"),
    [
        (Design(leaves=400, seeds=6, clustering="weak", network_effect=0.02, ahead=0.02), 1),
        (Design(seeds=3, clustering="weak", network_effect=0.01, ahead=0.06), 6),
        (Design(seeds=3, clustering="weak", network_effect=0.02, ahead=0.05), 6),
    ],
)
def test_networks_are_as_many_as_it_takes(design: Design, comparisons: int) -> None:
    first = right(replace(design, ahead=0), 100, np.random.default_rng(2))
    found = [estimate(one - other, design.leaf_of, comparisons) for one, other in first]
    names = ("leaf", "cell", "network", "over_networks")
    means = [float(np.mean([getattr(item.parts, name) for item in found])) for name in names]
    wanted = needed(replace(found[0], parts=Parts(*means, True)), design.ahead).networks
    assert design.seeds < wanted < 40
    assert abs(shown(replace(design, seeds=int(wanted)), 150, comparisons) - 0.8) <= 0.06 + 0.04


def shown(design: Design, studies: int = 250, comparisons: int = 1) -> float:
    """How often a study shows that the first arm is ahead."""
    tested = right(design, studies, np.random.default_rng(3))
    seen = variances(tested[:, 0] - tested[:, 1], design.leaf_of)
    return float((seen.mean > seen.reach(comparisons)).mean())


def told_apart(rows: list[Row], comparisons: list[Comparison]) -> list[str]:
    found = answer(rows, comparisons)
    questions = [q1(rows, comparisons, found, 0.02), q3(rows, [], comparisons)]
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


def test_an_average_goes_by_the_networks_that_all_pairs_have() -> None:
    random = np.random.default_rng(0)
    networks = [[(str(seed), "") for seed in seeds] for seeds in ((0, 1, 2, 3), (3, 2, 1), (3, 1, 2, 4), (1, 2, 3))]
    truth = (random.random((4, 5, 80)) < 0.8).astype(float)
    paths, leaves = tuple(map(str, range(80))), np.arange(80) // 4
    seen = [
        Outcomes(tested[[int(seed) for seed, _ in known]], paths, leaves, tuple(known))
        for tested, known in zip(truth, networks, strict=True)
    ]
    pairs = [
        Comparison(cast(Row, SimpleNamespace(outcomes=one)), cast(Row, SimpleNamespace(outcomes=other)), "epochs")
        for one, other in (seen[:2], seen[2:])
    ]
    differ, average = _average(pairs)
    assert not differ
    assert average is not None
    assert average.networks == 3
    expected = (truth[0, 1:4] - truth[1, 1:4] + truth[2, 1:4] - truth[3, 1:4]).mean() / 2
    assert average.value == pytest.approx(expected)
    assert _average([pairs[0], replace(pairs[1], other=cast(Row, SimpleNamespace(outcomes=None)))]) == (False, None)


def test_two_networks_give_no_average() -> None:
    paths, leaves, networks = tuple(map(str, range(80))), np.arange(80) // 4, (("0", ""), ("1", ""))
    better, worse = (Outcomes(np.full((2, 80), value), paths, leaves, networks) for value in (1.0, 0.0))
    one, other = (cast(Row, SimpleNamespace(outcomes=it)) for it in (better, worse))
    assert _average([Comparison(one, other, "epochs"), Comparison(one, other, "epochs")]) == (False, None)


@pytest.mark.parametrize(
    "design",
    [
        Design(clustering="middle", network_effect=0.005, accuracy=0.97),
        Design(seeds=3, clustering="weak", network_effect=0.0, accuracy=0.97),
        Design(160, 2, 5, "weak", 0.005, accuracy=0.97),
    ],
    ids=str,
)
def test_intervals_of_an_accuracy_near_1_hold(design: Design) -> None:
    tested = right(design, 300, np.random.default_rng(5))[:, 0]
    seen = [accuracy(values, design.leaf_of) for values in tested]
    held = [found.low <= design.accuracy <= found.high for found in seen]
    assert 0.93 - 2 * math.sqrt(0.05 * 0.95 / 300) <= np.mean(held) <= 0.99
    assert all(0 <= found.low < found.value <= found.high <= 1 for found in seen)


def test_an_interval_of_log_odds_by_hand() -> None:
    values = np.tile([1.0, 1.0, 1.0, 0.0], (1, 10))
    found, plainly = accuracy(values, np.arange(40)), estimate(values, np.arange(40))
    reach = (plainly.high - 0.75) / (0.75 * 0.25)
    odds = [3 * math.exp(-reach), 3 * math.exp(reach)]
    assert (found.low, found.high) == pytest.approx((odds[0] / (1 + odds[0]), odds[1] / (1 + odds[1])))


def test_one_leaf_shows_nothing_of_others() -> None:
    values = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    found = estimate(values, np.zeros(4))
    assert found.low < 0
    assert found.p == 1
    alone = accuracy(values, np.zeros(4))
    assert alone.leaves == 1
    assert (alone.low, alone.high) == pytest.approx((0, 1), abs=0.025)


def test_networks_that_tested_no_photo_do_not_count() -> None:
    values = np.vstack([np.tile([1.0, 0.0], (2, 10)), np.full((1, 20), np.nan)])
    assert estimate(values, np.arange(20)).networks == 2


def test_networks_that_one_row_lacks_are_left_out_and_named() -> None:
    design = Design(leaves=60, seeds=6, clustering="weak")
    runs = runs_of(design)
    rows = rows_of(runs, right(design, 1, np.random.default_rng(8))[0], design)
    short = vars(rows[1])["outcomes"]
    vars(rows[1])["outcomes"] = Outcomes(short.right[2:], short.paths, short.leaves, short.networks[2:])
    (pair,) = compare(rows)
    assert pair.networks == 4
    assert pair.left_out == (("0", ""), ("1", ""))


def test_what_equal_predictions_would_show_is_what_their_interval_leaves() -> None:
    equal = estimate(np.zeros((3, 400)), np.arange(400) // 4)
    assert not equal.high < 0.02
    wanted = needed(equal, 0.02)
    assert math.isinf(wanted.networks)
    assert 1 - 0.025 ** (1 / wanted.leaves) < 0.02 <= 1 - 0.025 ** (1 / (wanted.leaves - 1))


def test_a_verdict_has_the_direction_of_the_difference() -> None:
    design = Design(leaves=60, seeds=6, clustering="weak", ahead=0.08)
    tested = right(design, 1, np.random.default_rng(0))[0]
    for order, verdict in (([0, 1], Verdict.ONE_MORE), ([1, 0], Verdict.OTHER_MORE)):
        rows = rows_of(runs_of(design), tested[order], design)
        (pair,) = compare(rows)
        assert pair.one.pretrained
        assert pair.verdict is verdict


def test_a_control_is_compared_with_its_pretrained_row_alone() -> None:
    runs = [study_run(name, seed=seed) for name in ("MobileNetV2_frozen", "Simple_CNN") for seed in range(3)]
    before = compare(make_rows(runs))
    assert [item.kind for item in before] == ["transfer"]
    same = [study_run("MobileNetV2_frozen", seed=seed, pretrained=False, control=True) for seed in range(3)]
    after = compare(make_rows([*runs, *same]))
    assert [(item.kind, item.other.control) for item in after] == [("transfer", False), ("weights", True)]
    foreign = [study_run("Simple_CNN", row="CNN_frozen", freeze="frozen", seed=seed, control=True) for seed in range(3)]
    (alone,) = compare(make_rows([*runs, *foreign]))
    assert (alone.estimate, alone.kind) == (before[0].estimate, "transfer")


def test_an_average_effect_that_may_be_none_is_called_none() -> None:
    leaves = np.repeat(np.arange(40), 2)
    random = np.random.default_rng(0)
    none, some = (estimate(random.choice([-1, 0, 1], (5, 80), p=shares), leaves)
                  for shares in ([0.2, 0.6, 0.2], [0.0, 0.6, 0.4]))  # fmt: skip
    assert none.low < 0 < none.high
    said = [plain(effects_said([Effect("epochs", "5", "10", (), False, average)])[0]) for average in (none, some)]
    assert ["no effect is borne out" in text for text in said] == [True, False]


def test_calibration_by_hand() -> None:
    found = calibration(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    assert found.log_loss == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2)
    assert found.brier == pytest.approx((0.02 + 0.72) / 2)
    assert (list(found.stated), list(found.right), list(found.counts)) == ([0.6, 0.9], [0, 1], [1, 1])
    assert found.error == pytest.approx((0.6 + 0.1) / 2)
    assert (found.answered[0], found.accuracy[0], found.accuracy[-1]) == (0.5, 1, 0.5)


@pytest.mark.parametrize("networks", [1, 6])
def test_a_perfect_model_is_off_by_chance_alone(networks: int) -> None:
    random = np.random.default_rng(0)
    seen = []
    for _ in range(100):
        stated = random.beta(8, 2, 464).clip(0.5)
        truth = np.repeat((random.random(464) > stated).astype(int), networks)
        probabilities = np.repeat(np.column_stack([stated, 1 - stated]), networks, axis=0)
        seen.append(calibration(probabilities, truth, 464))
    by_chance = float(np.mean([it.by_chance for it in seen]))
    assert float(np.mean([it.error for it in seen])) == pytest.approx(by_chance, rel=0.15)
    assert by_chance > 0.02


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
