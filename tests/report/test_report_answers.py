import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from golden import STUDY, TEST_IMAGES, study_run, study_runs
from leafexp.report.answers import Answer, answer_questions, headline
from leafexp.report.budget import matched_view
from leafexp.report.comparisons import compare
from leafexp.report.content import data_facts, make_report, notes, warnings
from leafexp.report.table import make_table, print_table
from leafexp.report.wording import counted

from leafexp import names
from leafexp.report.read.collect import Run, Selection, configurations_tried
from leafexp.report.rows import make_rows

SHARE = re.compile(r"\b[01]\.\d{4}\b")


def answers(runs: list[Run]) -> list[Answer]:
    rows = make_rows(runs)
    return answer_questions(rows, compare(rows))


def said(runs: list[Run], question: int | None = None) -> str:
    chosen = answers(runs) if question is None else [answers(runs)[question - 1]]
    return "\n".join(sentence for answer in chosen for sentence in answer.sentences)


def sentence_with(runs: list[Run], *parts: str) -> str:
    found = [line for line in said(runs).splitlines() if all(part in line for part in parts)]
    assert found, f"no sentence with {parts}"
    return found[0]


def test_close_accuracies_are_not_told_apart() -> None:
    sentence = sentence_with(study_runs(), "can't be told apart")
    assert "MobileNetV2_unfrozen and MobileNetV2_frozen" in sentence
    assert "1,519 test photos (test accuracy 0.9381 against 0.9335; 95 % interval of the difference -0." in sentence
    assert (
        "points over leaves; 50:43 discordant photos, p = 0.534); a difference of this size would take about"
        in sentence
    )


def test_far_accuracies_are_told_apart_with_figures() -> None:
    sentence = sentence_with(study_runs(), "MobileNetV2_unfrozen is more accurate than Simple_CNN")
    assert "by 3.62 points (test accuracy 0.9381 against 0.9019; 95 % interval of the difference 2." in sentence
    assert "points over leaves; 90:35 discordant photos, p < 0.0001)" in sentence


def test_ranking_follows_the_table() -> None:
    order = re.findall(r"\d\. (\w+) 0", sentence_with(study_runs(), "By test accuracy"))
    assert order == ["MobileNetV2_unfrozen", "MobileNetV2_frozen", "Simple_CNN", "MobileNetV2_partial"]


def test_the_unequal_budget_is_said_beside_the_table_and_in_each_comparison() -> None:
    assert any(
        "epochs: 10 for" in note and "5 for MobileNetV2_partial" in note for note in notes(make_rows(study_runs()))
    )
    compared = [line for line in said(study_runs()).splitlines() if " than MobileNetV2_partial" in line]
    assert compared and all("unequal budget: epochs 10 against 5" in line for line in compared)
    assert "unequal budget" not in sentence_with(study_runs(), "more accurate than Simple_CNN")


@pytest.mark.parametrize(("key", "name"), [("data.image_size", "image size"), ("trainer.batch_size", "batch size")])
def test_other_budgets_are_said_too(key: str, name: str) -> None:
    runs = [study_run("Simple_CNN"), study_run("MobileNetV2_frozen", params={key: "64"})]
    assert name in sentence_with(runs, "MobileNetV2_frozen", " than Simple_CNN")


def test_every_share_in_the_prose_is_in_the_table() -> None:
    runs = study_runs()
    table = make_table(make_rows(runs))
    shares = ["test_accuracy", "interval_low", "interval_high", "first_val_accuracy", "last_val_accuracy"]
    known = {f"{value:.4f}" for column in shares for value in table[column]}
    sentences = [
        re.sub(r"p < 0.0001|\(\S+ minutes\)", "", line) for line in said(runs).splitlines() if "loss" not in line
    ]
    found = [number for line in sentences for number in SHARE.findall(line)]
    assert found and set(found) <= known
    for line in said(runs).splitlines():
        for row, accuracy in zip(table["model"], table["test_accuracy"], strict=True):
            if line.startswith(f"{row}: ") and "test accuracy" in line:
                assert f"test accuracy {accuracy:.4f} " in line


def test_reversed_accuracies_reverse_the_sentences() -> None:
    right = [line[6] for line in STUDY]
    reverse = dict(zip(sorted(right), sorted(right, reverse=True), strict=True))
    runs = [study_run(line[0], right=reverse[line[6]], first_wrong=0) for line in STUDY]
    order = re.findall(r"\d\. (\w+) 0", sentence_with(runs, "By test accuracy"))
    assert order == ["MobileNetV2_partial", "Simple_CNN", "MobileNetV2_frozen", "MobileNetV2_unfrozen"]
    assert "MobileNetV2_partial is better than MobileNetV2_unfrozen" in said(runs, 3)
    assert "MobileNetV2_partial is worse than MobileNetV2_unfrozen" in said(study_runs(), 3)
    assert "The best test accuracy is 0.9381, MobileNetV2_partial" in said(runs, 3)


def test_reversed_times_reverse_the_sentences() -> None:
    slow = [study_run("Simple_CNN", epoch_seconds=10.0), study_run("MobileNetV2_frozen", epoch_seconds=20.0)]
    assert "20.00 s per epoch, Simple_CNN 10.00 s: slower by a factor of 2.00" in said(slow, 2)
    assert "faster" not in said(slow, 2)
    equal = [study_run("Simple_CNN", epoch_seconds=10.0), study_run("MobileNetV2_frozen", epoch_seconds=10.0)]
    assert "neither is faster" in said(equal, 2)


def test_equal_rows_are_not_told_apart() -> None:
    runs = [study_run(line[0], right=1400, first_wrong=0) for line in STUDY]
    assert " is more accurate than " not in said(runs)
    assert " is better than " not in said(runs) and " is worse than " not in said(runs)
    assert said(runs).count("can't be told apart") >= 3
    assert "0:0 discordant photos, p = 1" in said(runs)


def test_without_predictions_the_intervals_decide_and_that_is_said() -> None:
    runs = study_runs(with_predictions=False)
    assert "their intervals overlap; predictions can't be used" in sentence_with(runs, "can't be told apart")
    assert "their intervals do not overlap" in sentence_with(runs, "more accurate than Simple_CNN")
    assert "McNemar" not in said(runs)


def test_holm_can_undo_a_verdict() -> None:
    fewer = 1400 - 17  # 30:13 discordant: p = 0.0137, times 4 comparisons no longer below 0.05
    close = {"right": fewer, "first_wrong": 13}
    pair = [study_run("MobileNetV2_unfrozen", right=1400, first_wrong=0), study_run("MobileNetV2_frozen", **close)]
    assert "is more accurate than MobileNetV2_frozen" in said(pair)
    family = [*pair, study_run("Simple_CNN", **close), study_run("MobileNetV2_partial", **close)]
    assert "is more accurate than" not in said(family)


def test_rows_on_other_photos_are_not_compared() -> None:
    runs = [study_run("Simple_CNN"), study_run("MobileNetV2_frozen", data_hash="e" * 64)]
    assert "Not comparable" in warnings(make_report(Selection("leafexp", "study", 0, runs, [], [])))[0]
    assert " than " not in said(runs) and "told apart" not in said(runs) and "factor" not in said(runs)
    assert warnings(make_report(Selection("leafexp", "study", 0, study_runs(), [], []))) == []


def test_milestones() -> None:
    assert "did not reach 80 % validation accuracy in 5 epochs" in sentence_with(study_runs(), "MobileNetV2_partial: ")
    assert "reached 80 % validation accuracy in epoch 8" in sentence_with(study_runs(), "Simple_CNN: ")


def test_the_milestone_of_some_seeds() -> None:
    runs = [study_run("Simple_CNN"), study_run("Simple_CNN", seed=1, val_accuracy=[0.5] * 10)]
    assert "in epoch 8 in 1 of 2 runs" in said(runs, 1)


def test_stability_is_measured() -> None:
    sentence = sentence_with(study_runs(), "MobileNetV2_unfrozen: the largest fall")
    assert "8.00 points" in sentence and "4.00 points" in sentence


def test_the_control_prices_the_weights() -> None:
    control = study_run("MobileNetV2_frozen", pretrained=False, control=True, right=900)
    question = said([*study_runs(), control], 2)
    assert "MobileNetV2_frozen is more accurate than MobileNetV2_frozen (model.weights=None) by" in question
    assert "model.weights=null" not in question
    assert "python -m leafexp.train -m model=mnv2 model.weights=null freeze=frozen" in said(study_runs(), 2)


@pytest.mark.parametrize(
    ("row", "question", "command"),
    [
        ("Simple_CNN", 1, "model=mnv2 freeze=frozen,unfrozen,partial"),
        ("Simple_CNN", 2, "model=mnv2 freeze=frozen,unfrozen "),
        ("MobileNetV2_frozen", 1, "model=cnn freeze=unfrozen"),
        ("MobileNetV2_frozen", 3, "model=mnv2 freeze=frozen,unfrozen,partial"),
    ],
)
def test_a_missing_arm_names_its_command(row: str, question: int, command: str) -> None:
    assert f"python -m leafexp.train -m {command}" in said([study_run(row)], question)


def of_leaves(run: Run, photos_a_leaf: int) -> Run:
    """The run, its test photos in order so many of one leaf."""
    assert run.predictions is not None
    leaves = [f"leaf {number // photos_a_leaf}" for number in range(len(run.predictions))]
    return replace(run, predictions=run.predictions.assign(group=leaves))


def test_known_leaves_widen_what_one_seed_may_say_and_unknown_ones_are_said() -> None:
    apart = make_rows(study_runs())
    together = make_rows([of_leaves(run, 7) for run in study_runs()])
    for single, row in zip(apart, together, strict=True):
        low, high = row.widest_interval[0]
        # the wrong photos lie side by side, so whole leaves are wrong
        assert high - low > 2 * (single.interval[1] - single.interval[0])
        assert (single.widest_interval, row.widest_interval[1]) == ((single.interval, "photos"), "leaves")
    assert "95 % over leaves " in print_table(make_table(together)).splitlines()[0]
    assert "over leaves" not in print_table(make_table(apart))
    unknown = "No two test photos are known to show the same leaf"
    assert unknown in " ".join(notes(apart)) and unknown not in " ".join(notes(together))
    assert "1,519 test (of 217 leaves)" in data_facts(together)[0] and "leaves)" not in data_facts(apart)[0]
    prose = sentence_with([of_leaves(run, 7) for run in study_runs()], "Simple_CNN: ", "minutes of training")
    assert " over leaves)" in prose
    worse = sentence_with(study_runs(), "MobileNetV2_partial is worse than MobileNetV2_frozen")
    assert "discordant photos, p < 0.0001" in worse and "95 % interval of the difference" in worse


def test_one_seed_is_said_once() -> None:
    assert sum("seed" in note for note in notes(make_rows(study_runs()))) == 1


def test_data_facts() -> None:
    facts = "\n".join(data_facts(make_rows(study_runs())))
    for part in ("plantvillage6", "4,557 train, 1,519 validation, 1,519 test", "image size 128", "dddddddddddd"):
        assert part in facts
    assert "none (random): Simple_CNN" in facts and "5ad0d2f" in facts


@pytest.mark.parametrize(
    "strip",
    [
        lambda run: Run(run.run_id, run.name, run.status, run.started, run.tags, run.params, run.metrics),
        lambda run: Run(run.run_id, run.name, run.status, run.started, run.tags, {}, {names.TEST_ACCURACY: 0.5}),
        lambda run: Run(run.run_id, run.name, run.status, run.started, {}, {}, {}),
    ],
    ids=["no curves", "accuracy only", "nothing"],
)
def test_what_was_not_logged_does_not_stop_the_report(strip: Callable[[Run], Run]) -> None:
    runs = [strip(run) for run in study_runs()]
    assert len(answers(runs)) == 3
    assert "nan" not in said(runs).lower()


def test_test_images() -> None:
    assert [round(accuracy[6] / TEST_IMAGES, 6) for accuracy in STUDY] == [0.901909, 0.933509, 0.938117, 0.820935]


def timed_runs(frozen_reused: float = 0.0) -> list[Run]:
    """Frozen and unfrozen with their seconds told apart: 2 s forward and 0.5 s for the head against 9 s."""
    frozen = {
        names.PREFIX_SECONDS: 8.0,
        names.PREFIX_REUSED_SECONDS: frozen_reused,
        names.PREFIX_FORWARD_SECONDS: 2.0,
        names.STEADY_COMPUTE_SECONDS: 0.5,
    }
    parts = {names.DATA_SECONDS: 0.25, names.COMPUTE_SECONDS: 9.0, names.VALIDATION_SECONDS: 0.75}
    unfrozen = {names.PREFIX_SECONDS: 0.0, names.STEADY_COMPUTE_SECONDS: 9.0, names.PEAK_MEMORY_MB: 1500.0}
    return [
        study_run("MobileNetV2_frozen", epoch_seconds=1.5, total_seconds=15.0, more_metrics=frozen),
        study_run(
            "MobileNetV2_unfrozen",
            epoch_seconds=10.0,
            total_seconds=100.0,
            more_metrics=unfrozen,
            more_curves=parts,
        ),
    ]


def test_what_freezing_saves_and_what_the_cache_saves_on_top_are_told_apart() -> None:
    sentence = sentence_with(timed_runs(), "Computing an epoch")
    assert "takes MobileNetV2_unfrozen 9.000 s. MobileNetV2_frozen takes 2.000 s to pass the photos" in sentence
    assert "0.5000 s for the rest: 6.500 s (72.2 %) less" in sentence
    assert "The cache spares the 2.000 s as well" in sentence
    slower = study_run("MobileNetV2_unfrozen", more_metrics={names.STEADY_COMPUTE_SECONDS: 2.0})
    assert "0.5000 s (25.0 %) more" in sentence_with([timed_runs()[0], slower], "Computing an epoch")
    assert "Computing an epoch" not in said(study_runs())


def test_where_an_epoch_goes_is_said_where_it_was_measured() -> None:
    sentence = sentence_with(timed_runs(), "wait for photos")
    assert "MobileNetV2_unfrozen: of 10.00 s per epoch 0.2500 s wait for photos, 9.000 s compute" in sentence
    assert "0.7500 s validate; 492.6 training photos a second; at most 1.500 GB of memory" in sentence
    assert "wait for photos" not in said(study_runs())


def test_frozen_layers_from_an_earlier_run_make_no_arm_look_faster() -> None:
    own, reused = make_table(make_rows(timed_runs())), make_table(make_rows(timed_runs(frozen_reused=8.0)))
    assert list(own["total_time_sec"]) == list(reused["total_time_sec"]) == [15.0, 100.0]
    assert list(own["with_frozen_layers_sec"]) == [15.0, 100.0]
    assert list(reused["with_frozen_layers_sec"]) == [23.0, 100.0]
    assert "with_frozen_layers_sec" not in print_table(own)
    assert "with_frozen_layers_sec" in print_table(reused)
    assert "took 8.000 s of its 15.00 s" in sentence_with(timed_runs(), "computing its frozen layers once")
    sentence = sentence_with(timed_runs(frozen_reused=8.0), "computing its frozen layers once")
    assert "all of them in an earlier run: 15.00 s as run, 23.00 s with these counted in" in sentence
    assert "0.2500 minutes of training (0.3833 with frozen layers" in sentence_with(
        timed_runs(8.0), "minutes of training ("
    )
    pace = sentence_with(timed_runs(frozen_reused=8.0), "s per epoch", "faster by a factor")
    assert "(with frozen layers from earlier runs 2.300 s and 10.00 s): faster by a factor of 4.35" in pace


def test_another_precision_is_said() -> None:
    runs = [study_run("Simple_CNN", params={"trainer.precision": "mixed_bfloat16"}), study_run("MobileNetV2_frozen")]
    assert "Computed in mixed_bfloat16, not float32: Simple_CNN" in " ".join(data_facts(make_rows(runs)))
    assert "Computed in" not in " ".join(data_facts(make_rows(study_runs())))


def grid(**rights: list[int]) -> list[Run]:
    """Runs of three seeds for each row, with so many photos right."""
    rows = {line[0]: line for line in STUDY}
    return [
        study_run(row, seed=seed, right=right, first_wrong=40 * seed, epochs=10, val_accuracy=[0.5] * 9 + [0.9])
        for row in rows
        for seed, right in enumerate(rights[row])
    ]


def test_several_seeds_give_an_interval_over_leaves_and_seeds() -> None:
    runs = grid(
        Simple_CNN=[1200, 1210, 1190],
        MobileNetV2_frozen=[1400, 1405, 1410],
        MobileNetV2_unfrozen=[1433, 1435, 1425],
        MobileNetV2_partial=[1430, 1425, 1435],
    )
    sentence = sentence_with(runs, "MobileNetV2_unfrozen is more accurate than Simple_CNN")
    assert "over leaves and seeds" in sentence and "ahead with 3 of 3 seeds, p = 0.25" in sentence
    table = make_table(make_rows(runs))
    assert list(table["runs"]) == [3] * 4
    shown = print_table(table)
    for title in ("95 % over photos", "95 % over seeds", "95 % over leaves and seeds"):
        assert title in shown
    assert "95 % over seeds" not in print_table(make_table(make_rows(study_runs())))
    ties = sentence_with(runs, "MobileNetV2_unfrozen and MobileNetV2_partial can't be told apart")
    assert "ahead with 2 of 3 seeds" in ties


def test_seeds_that_disagree_undo_what_one_seed_would_say() -> None:
    swings = grid(
        Simple_CNN=[1300, 1300, 1300],
        MobileNetV2_frozen=[1100, 1450, 1450],
        MobileNetV2_unfrozen=[1200] * 3,
        MobileNetV2_partial=[1200] * 3,
    )
    assert "MobileNetV2_frozen and Simple_CNN can't be told apart" in said(swings)
    assert "the interval alone" not in sentence_with(swings, "MobileNetV2_frozen and Simple_CNN can't")
    steady = grid(
        Simple_CNN=[1300, 1300, 1300],
        MobileNetV2_frozen=[1440, 1450, 1450],
        MobileNetV2_unfrozen=[1200] * 3,
        MobileNetV2_partial=[1200] * 3,
    )
    assert "MobileNetV2_frozen is more accurate than Simple_CNN" in said(steady)


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({"epochs": 5, "val_accuracy": [0.9] * 5}, "epochs 10 against 5"),
        ({"more_metrics": {names.TRAIN_IMAGES: 400}}, "training images 4,557 against 400"),
        ({"seed": 3}, "seeds 0 against 3"),
        ({"split_hash": "6" * 64, "tags": {names.TEST_HASH: "t"}}, "split 55555555 against 66666666"),
        ({"params": {"trainer.precision": "mixed_bfloat16"}}, "precision float32 against mixed_bfloat16"),
        ({"tags": {names.TEST_HASH: "t", names.WEIGHTS_SHA256: "b" * 64}}, "pretrained weights"),
    ],
)
def test_each_part_of_the_budget_is_guarded(changes: dict[str, Any], budget: str) -> None:
    same = {"tags": {names.TEST_HASH: "t"}, "params": {"trainer.precision": "float32"}}
    runs = [study_run("MobileNetV2_unfrozen", **same), study_run("MobileNetV2_frozen", **{**same, **changes})]
    assert f"unequal budget: {budget}" in sentence_with(runs, "MobileNetV2_unfrozen", "MobileNetV2_frozen", "(test ")
    part = budget.split()[0]
    assert any(note.startswith("Unequal budget") and part in note for note in notes(make_rows(runs)))


def test_more_configurations_tried_are_said() -> None:
    tuned = replace(study_run("MobileNetV2_unfrozen"), configurations_tried=5)
    assert "configurations tried 5 against 1" in sentence_with([tuned, study_run("Simple_CNN")], "Simple_CNN", "(test")
    wide, narrow = study_run("Simple_CNN", params={"x": "1"}), study_run("Simple_CNN", params={"x": "2"}, seed=4)
    again = study_run("Simple_CNN", params={"x": "2"}, seed=5)
    assert set(configurations_tried([wide, narrow, again]).values()) == {2}


def test_the_matched_view_ends_where_the_least_ends() -> None:
    view = matched_view(make_rows(study_runs())).set_index("model")
    assert list(view) == ["val_accuracy at 5 epochs", "at 2.371 minutes", "at 715 optimizer steps"]
    assert view.loc["Simple_CNN"].tolist()[0] == 0.75  # the best of its first five epochs
    assert math.isnan(view.loc["Simple_CNN"].tolist()[1])  # one epoch takes 3.8 minutes
    assert view.loc["MobileNetV2_frozen"].tolist() == [0.91, 0.91, 0.91]
    assert view.loc["MobileNetV2_partial"].tolist() == [0.79, 0.79, 0.79]


def test_a_setting_s_effect_is_its_mean_over_pairs_alike_but_for_it() -> None:
    def run(momentum: str, share: str, right: int, seed: int) -> Run:
        params = {"freeze.phases.tune.batch_norm_momentum": momentum, "freeze.phases.head.epoch_share": share}
        return study_run("MobileNetV2_partial", params=params, right=right, seed=seed, first_wrong=0)

    cells = {("None", "0.0"): 1200, ("auto", "0.0"): 1300, ("None", "0.2"): 1250, ("auto", "0.2"): 1400}
    runs = [run(*cell, right - seed, seed) for cell, right in cells.items() for seed in range(2)]
    sentence = sentence_with(runs, "differ in tune.batch_norm_momentum alone")
    effect, least, most = 125 / TEST_IMAGES, 100 / TEST_IMAGES, 150 / TEST_IMAGES
    assert f"auto instead of None changes the test accuracy by {100 * effect:.2f} points" in sentence
    assert f"from {100 * least:.2f} to {100 * most:.2f} points in single pairs)." in sentence
    none = [run(*cell, 1300, seed) for cell in cells for seed in range(2)]
    assert "it can't be told from no effect" in sentence_with(none, "differ in tune.batch_norm_momentum alone")


def head(runs: list[Run]) -> str:
    rows = make_rows(runs)
    return "\n".join(headline(rows, compare(rows)))


def test_the_headline_follows_the_evidence() -> None:
    runs = study_runs()
    assert "Transfer learning is better: MobileNetV2_unfrozen is more accurate than Simple_CNN by 3.62" in head(runs)
    worse = [study_run("Simple_CNN", right=1480, first_wrong=0), study_run("MobileNetV2_frozen", right=1300)]
    assert "Training from scratch is better: Simple_CNN is more accurate" in head(worse)
    equal = [study_run(line[0], right=1400, first_wrong=0) for line in STUDY]
    assert "Whether transfer learning is better can't be told from these runs" in head(equal)
    assert "Transfer learning is better" not in head(equal) + head(worse)
    assert "Nothing can be compared" in head([study_run("Simple_CNN")])
    random = [study_run("Simple_CNN"), study_run("MobileNetV2_unfrozen", pretrained=False)]
    assert "no row is pretrained.\nMobileNetV2_unfrozen" in head(random)


def rare(row: str, wrong: int, **changes: Any) -> Run:
    """A run on 36 healthy photos for each rusty one, so many of the first photos wrong."""
    labels = ["rust" if photo % 37 == 0 else "healthy" for photo in range(TEST_IMAGES)]
    predicted = [("rust" if photo < wrong else "healthy") for photo in range(TEST_IMAGES)]
    table = pd.DataFrame({"path": [f"{photo}.jpg" for photo in range(TEST_IMAGES)], "label": labels})
    right = int((table["label"] == predicted).sum())
    return replace(study_run(row, right=right, **changes), predictions=table.assign(predicted=predicted))


def test_accuracies_are_set_against_always_naming_the_largest_class() -> None:
    runs = [rare("Simple_CNN", 0), rare("MobileNetV2_frozen", 37)]
    (said,) = warnings(make_report(Selection("leafexp", "study", 0, runs, [], [])))
    share = 1 - 42 / TEST_IMAGES
    assert (
        f"Always answering healthy, the largest class, is right on {100 * share:.1f} % of the 1,519 test photos" in said
    )
    worse = 100 * 35 / TEST_IMAGES
    assert f"Simple_CNN {100 * share:.1f} % (no better) and MobileNetV2_frozen" in said
    assert f"({worse:.2f} points worse)" in said
    # three classes alike: said only where the accuracy is hardly above one of them
    poor = [study_run("Simple_CNN", right=520), study_run("MobileNetV2_frozen", right=540)]
    (said,) = warnings(make_report(Selection("leafexp", "study", 0, poor, [], [])))
    assert "Always answering leaf, the largest class, is right on 33.4 %" in said
    assert warnings(make_report(Selection("leafexp", "study", 0, study_runs(), [], []))) == []


def test_times_of_different_machines_are_not_compared() -> None:
    runs = study_runs()
    apart = [replace(run, tags={**run.tags, names.HOST: f"pc{place}"}) for place, run in enumerate(runs)]
    together = [replace(run, tags={**run.tags, names.HOST: "pc"}) for run in runs]
    assert "by a factor of" in said(together) and "is the cheapest" in head(together)
    assert "by a factor of" not in said(apart) and "the cheapest, with" not in head(apart)
    assert "not compared, as they ran on different machines" in said(apart, 2)
    assert "at 2.371 minutes" in matched_view(make_rows(together)) and len(matched_view(make_rows(apart)).columns) == 3
    assert any(line.startswith("Unequal budget, machine: pc0 for Simple_CNN") for line in notes(make_rows(apart)))
    # every run of a row counts, not its first
    seeds = [study_run("Simple_CNN", tags={names.HOST: "a"}), study_run("Simple_CNN", seed=1, tags={names.HOST: "b"})]
    assert "factor" not in said([*seeds, study_run("MobileNetV2_frozen", tags={names.HOST: "a"})], 2)


def test_the_matched_view_keeps_photos_apart() -> None:
    runs = [study_run("Simple_CNN"), study_run("MobileNetV2_partial", data_hash="e" * 64)]
    view = matched_view(make_rows(runs)).set_index("model")
    assert view["val_accuracy at 10 epochs"].notna().tolist() == [True, False]
    assert view["val_accuracy at 5 epochs"].notna().tolist() == [False, True]


def test_unknown_weights_are_said() -> None:
    known = [study_run(line[0], tags={names.WEIGHTS_SHA256: "a" * 64}) for line in STUDY]
    assert not any("weights they began from" in note for note in notes(make_rows(known)))
    (said_of,) = [note for note in notes(make_rows([*known[:3], study_runs()[3]])) if "weights they began from" in note]
    assert said_of.endswith(": MobileNetV2_partial (weights_sha256=).") or "MobileNetV2_partial" in said_of


@pytest.mark.parametrize(("number", "words"), [(0, "0 photos"), (1, "1 photo"), (2, "2 photos"), (1.5, "1.5 photos")])
def test_counts_have_their_noun(number: float, words: str) -> None:
    assert counted(number, "photo") == words
    assert counted(number, "leaf", "leaves") == words.replace("photos", "leaves").replace("photo", "leaf")
