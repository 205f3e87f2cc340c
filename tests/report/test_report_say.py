"""What the report says: true to the figures, whatever the runs are, and silent where they show nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from golden import STUDY, TEST_IMAGES, make_predictions, study_run, study_runs
from test_report_page import findings

from leafexp import names
from leafexp.report.read.collect import Selection
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, make_report
from leafexp.report.rows.budget import matched_view
from leafexp.report.rows.learning import largest_drop, loss_rise, milestone, still_gaining
from leafexp.report.rows.row import make_rows
from leafexp.report.say.words import in_hundred, plain, points, times
from leafexp.report.show.terminal import HEIGHT, WIDTH, on_terminal
from leafexp.wording import counted, duration

SEEDS = 3
PHOTOS = "the test"


def report_on(runs: list[Run], audit: dict[str, Any] | None = None, unfinished: list[Run] | None = None) -> Report:
    return make_report(Selection("leafexp", "study", 0, runs, unfinished or [], [], audit), "")


def several(seeds: int = SEEDS, right: dict[str, int] | None = None, **changes: Any) -> list[Run]:
    """The study's arms with some seeds: wrong photos lie at random, as many as in the study."""
    runs = []
    for number, line in enumerate(STUDY):
        for seed in range(seeds):
            correct = (right or {}).get(line[0], line[6])
            random = np.random.default_rng([number, seed])
            run = study_run(line[0], seed=seed, right=correct, started=1000 + seed, **changes)
            table = make_predictions(correct, 0)
            order = random.permutation(TEST_IMAGES)
            wrong = (table["label"] != table["predicted"]).to_numpy()[order]
            shifted = table["label"].map({"leaf": "blight", "blight": "rust", "rust": "leaf"})
            table = table.assign(predicted=np.where(wrong, shifted, table["label"]))
            runs.append(replace(run, predictions=table, tags={**run.tags, names.HOST: "one"}))
    return runs


def said(report: Report) -> str:
    sentences = [report.answers[0][1].title, *report.answers[0][1].said]
    sentences += [caveat.sentence for caveat in report.caveats]
    for question in report.questions:
        sentences += [question.lead, *(sentence for point in question.points for sentence in point.said)]
    return "\n".join(map(plain, sentences))


def test_the_answer_is_advice_where_the_data_bear_it_out() -> None:
    report = report_on(several())
    title, *rest = map(plain, [report.answers[0][1].title, *report.answers[0][1].said])
    assert title == "Use the pretrained MobileNetV2 and fine-tune it."
    assert rest[0] == (
        "It is right 94 times in 100 on photos it has never seen; the CNN from scratch is right 90 times."
    )
    assert rest[1].startswith("The gap is 3.6 points (95 % interval ")
    assert len(" ".join([title, *rest]).split()) <= 60


def test_reversed_accuracies_reverse_the_answer() -> None:
    right = {line[0]: line[6] for line in STUDY}
    right |= {"Simple_CNN": 1480, "MobileNetV2_unfrozen": 1300, "MobileNetV2_frozen": 1290}
    report = report_on(several(right=right))
    assert plain(report.answers[0][1].title) == "Use the CNN from scratch."
    assert "It is right 97 times in 100 on photos it has never seen; fine-tuned whole is right 86" in said(report)
    assert "fine-tuned whole is more accurate than the CNN" not in said(report)


def test_equal_arms_are_not_decided() -> None:
    report = report_on(several(right={line[0]: 1400 for line in STUDY}))
    assert plain(report.answers[0][1].title).startswith(
        "Not decided: the pretrained MobileNetV2 or the CNN from scratch"
    )
    assert " is more accurate than " not in said(report).replace("or the CNN from scratch is more accurate is", "")
    assert "A difference of 2 points between" in said(report)


def test_one_seed_is_no_answer_and_names_the_command_that_makes_one() -> None:
    report = report_on([replace(run, tags={**run.tags, names.HOST: "one"}) for run in study_runs()])
    assert plain(report.answers[0][1].title) == "This is not an answer yet."
    text = said(report)
    assert "was right on 55 of 1,519 photos more than the CNN from scratch" in text
    assert "freeze=unfrozen" in text
    assert "seed=0,1,2,3,4,5" in text
    assert " is more accurate than " not in text


def test_the_arm_is_chosen_on_validation_photos() -> None:
    low = {"val_accuracy": [0.5] * 10}
    runs = [run for run in several() if run.row != "MobileNetV2_unfrozen"]
    runs += [replace(run, curves=study_run("MobileNetV2_unfrozen", **low).curves) for run in several()
             if run.row == "MobileNetV2_unfrozen"]  # fmt: skip
    best, _ = report_on(runs).answers[0][1].best
    assert best.label == "MobileNetV2_frozen"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("Simple_CNN", "model=cnn freeze=unfrozen"),
        ("MobileNetV2_unfrozen", "model=mnv2 freeze=frozen,unfrozen"),
        ("MobileNetV2", "model=mnv2 freeze=frozen,unfrozen,partial"),
    ],
)
def test_a_missing_arm_names_its_command(missing: str, words: str) -> None:
    assert words in said(report_on([run for run in several() if not run.row.startswith(missing)]))


def test_what_the_usual_runs_lack_is_named_and_is_told_where_it_is_there() -> None:
    text = said(report_on(several()))
    for lacking in (
        "model.weights=null",
        "freeze.phases.head.epoch_share=0",
        "freeze.phases.tune.learning_rate_factor=1",
    ):
        assert lacking in text
    usual = [replace(run, params={**run.params, "freeze.phases.head.epoch_share": "0.2",
                                  "freeze.phases.tune.learning_rate_factor": "0.1"}) for run in several()]  # fmt: skip
    more = []
    for run in usual:
        if run.row == "MobileNetV2_unfrozen":
            worse = make_predictions(1200, 0)
            accuracy = {names.TEST_ACCURACY: 1200 / TEST_IMAGES}
            at_once = {**run.params, "freeze.phases.head.epoch_share": "0"}
            more.append(
                replace(
                    run,
                    run_id=f"{run.run_id} 2",
                    params=at_once,
                    predictions=worse,
                    metrics={**run.metrics, **accuracy},
                )
            )
            random = {**run.params, "model.weights": "None"}
            tags = {**run.tags, names.PRETRAINED: "false"}
            more.append(
                replace(
                    run,
                    run_id=f"{run.run_id} 3",
                    params=random,
                    tags=tags,
                    predictions=worse,
                    metrics={**run.metrics, **accuracy},
                )
            )
    before, after = report_on(usual), report_on([*usual, *more])
    text = said(after)
    assert "model.weights=null" not in text
    assert "epoch_share=0" not in text
    assert "ine-tuned whole is more accurate than fine-tuned whole (no head phase), by 15 points" in text
    assert "is more accurate than the MobileNetV2 from scratch, by 15 points" in text
    # What asks something else changes no answer.
    assert list(map(plain, after.answers[0][1].said)) == list(map(plain, before.answers[0][1].said))
    assert len(after.planned) == 6
    for old, new in zip(before.planned, after.planned, strict=True):
        assert old.estimate is not None
        assert new.estimate is not None
        assert (old.one.label, old.estimate.low) == (new.one.label.partition(",")[0], new.estimate.low)


def test_times_of_different_machines_are_not_compared() -> None:
    runs = several()
    text = said(report_on(runs))
    assert "Yes: an epoch is shorter than one of the CNN from scratch." in text
    runs[0] = replace(runs[0], tags={**runs[0].tags, names.HOST: "other"})
    text = said(report_on(runs))
    assert "trained on several machines" in text
    assert "The networks of one arm come from several machines: the CNN from scratch." in text


def test_reversed_times_reverse_the_sentences() -> None:
    for seconds, words in ((1.0, "Yes: an epoch is shorter"), (900.0, "No: an epoch is longer")):
        runs = [
            replace(run, curves=run.curves.assign(**{names.EPOCH_SECONDS: seconds})) if run.row != "Simple_CNN" else run
            for run in several()
        ]
        assert words in said(report_on(runs))


def test_frozen_layers_from_an_earlier_run_make_no_arm_look_faster() -> None:
    runs = several(more_metrics={names.PREFIX_REUSED_SECONDS: 4000.0})
    assert "No: an epoch is" in said(report_on([
        run if run.row != "Simple_CNN" else replace(run, metrics={**run.metrics, names.PREFIX_REUSED_SECONDS: 0.0})
        for run in runs
    ]))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"params": {"trainer.batch_size": "16"}},
            "batch size: 32 for fine-tuned whole, head only and the CNN from scratch; 16 for top fine-tuned.",
        ),
        ({"params": {"data.image_size": "224"}}, "; 224 for top fine-tuned."),
        ({"params": {"trainer.precision": "mixed_bfloat16"}}, "mixed_bfloat16 for top fine-tuned"),
        ({"more_metrics": {names.TRAIN_IMAGES: 99.0}}, "; 99 for top fine-tuned."),
        ({"tags": {names.THREADS: "7"}}, "; 7 for top fine-tuned."),
    ],
)
def test_what_arms_had_unlike_is_said(changes: dict[str, Any], words: str) -> None:
    runs = [replace(run, params={**run.params, "trainer.precision": "float32"}, tags={**run.tags, names.THREADS: "2"})
            for run in study_runs() if run.row != "MobileNetV2_partial"]  # fmt: skip
    assert words in said(report_on([*runs, study_run("MobileNetV2_partial", **changes)]))


def test_unequal_epochs_are_said_once_and_not_where_the_study_varies_them() -> None:
    text = said(report_on(study_runs()))
    assert text.count("The arms differ in epochs: 10 for fine-tuned whole") == 1
    assert "optimizer steps" not in text
    varied = [study_run("MobileNetV2_partial", epochs=epochs, val_accuracy=[0.5] * epochs) for epochs in (5, 6)]
    assert "The arms differ in epochs" not in said(report_on(varied))


def test_what_the_photos_give_away_stands_first() -> None:
    report = report_on(several(), findings())
    first, second = (plain(caveat.sentence) for caveat in report.caveats[:2])
    assert first == "1 pair of nearly equal photos lies on two sides of the split, so the test is easier than it looks."
    assert second.startswith(
        "The border of a photo alone tells the class 62 times in 100, where always naming the largest"
    )


def test_accuracies_are_set_against_always_naming_the_largest_class() -> None:
    run = study_run("Simple_CNN")
    assert run.predictions is not None
    table = run.predictions.assign(
        label="leaf",
        predicted=np.where(np.arange(TEST_IMAGES) < run.metrics[names.TEST_ACCURACY] * TEST_IMAGES, "leaf", "rust"),
    )
    assert "Always answering “leaf”, the largest class, is right on 100.0 %" in said(
        report_on([replace(run, predictions=table)])
    )
    assert "Always answering" not in said(report_on([run]))


def test_an_arm_that_still_improved_is_said() -> None:
    rising = [0.5 + 0.03 * epoch for epoch in range(10)]
    runs = [replace(run, curves=study_run("Simple_CNN", val_accuracy=rising).curves) if run.row == "Simple_CNN" else run
            for run in several()]  # fmt: skip
    assert "The CNN from scratch was still gaining 3.0 points" in said(report_on(runs)).replace(" an epoch", "")
    flat = make_rows([study_run("Simple_CNN", val_accuracy=[0.9, 0.91] * 5)])[0]
    assert still_gaining(flat) == 0


def test_unfinished_runs_are_named_with_the_reason() -> None:
    failed = study_run("MobileNetV2_partial", status="FAILED", seed=7, tags={names.ERROR: "CUDA went away\ntrace"})
    assert "Not in the table: MobileNetV2_partial, seed 7, failed (CUDA went away)." in said(
        report_on(several(), unfinished=[failed])
    )


def test_milestones_are_medians_and_infinite_where_most_did_not_get_there() -> None:
    def run(seed: int, epoch: float | None) -> Run:
        made = study_run("Simple_CNN", seed=seed)
        metrics = {key: value for key, value in made.metrics.items() if key != names.epochs_to(80)}
        return replace(made, metrics={**metrics, **({names.epochs_to(80): epoch} if epoch else {})})

    (row,) = make_rows([run(0, 3.0), run(1, 9.0), run(2, None)])
    assert (milestone(row, 80).epoch, milestone(row, 80).reached) == (9, 2)
    (row,) = make_rows([run(0, 3.0), run(1, None), run(2, None)])
    assert milestone(row, 80).epoch == np.inf
    assert "Only 1 of 3 networks reached it in 10 epochs with the CNN from scratch." in said(
        report_on([run(0, 3.0), run(1, None), run(2, None)])
    )


def test_stability_is_measured() -> None:
    (row,) = make_rows([study_run("MobileNetV2_unfrozen")])
    assert largest_drop(row) == pytest.approx(0.08)
    assert loss_rise(row) == pytest.approx(0)


@pytest.mark.parametrize(
    "strip",
    [
        lambda run: replace(run, curves=run.curves.iloc[:0]),
        lambda run: replace(run, predictions=None),
        lambda run: replace(run, tags={names.ROW: run.row, names.MODEL: "x", names.FREEZE: "y"}),
        lambda run: replace(run, params={}),
        lambda run: replace(run, metrics={names.TEST_ACCURACY: run.metrics[names.TEST_ACCURACY]}),
        lambda run: Run(run.run_id, run.name, run.status, 1, {}, {}, {names.TEST_ACCURACY: 0.5}),
    ],
    ids=["curves", "predictions", "tags", "params", "metrics", "all"],
)
def test_what_was_not_logged_does_not_stop_the_report(strip: Callable[[Run], Run]) -> None:
    for runs in (list(map(strip, study_runs())), [strip(study_runs()[0]), *study_runs()[1:]]):
        text = said(report_on(runs)) + on_terminal(report_on(runs))
        assert "nan" not in text.replace("finance", "")
        assert "inf " not in text


def test_a_screen_of_text() -> None:
    report = report_on(several(), findings())
    lines = on_terminal(report).splitlines()
    assert len(lines) + 3 <= HEIGHT
    assert all(len(line) <= WIDTH for line in lines if not line.startswith("  python -m"))
    for row in report.rows:
        assert f"{100 * row.accuracy:.1f} %" in "\n".join(lines)


def test_controls_alone_are_shown() -> None:
    runs = [replace(run, tags={**run.tags, names.CONTROL: "true", names.PRETRAINED: "false"}) for run in several()]
    report = report_on([run for run in runs if run.row == "MobileNetV2_partial"])
    assert "takes a pretrained network and one trained from scratch" in said(report)
    assert f"{100 * report.rows[0].accuracy:.1f} %" in on_terminal(report)


def test_settings_have_an_answer_each() -> None:
    runs = []
    for photos, share in (("8", 0.7), ("72", 0.9)):
        for run in several(right={line[0]: int(share * line[6]) for line in STUDY}):
            runs.append(
                replace(run, run_id=f"{run.run_id} {photos}", params={**run.params, "data.train_per_class": photos})
            )
    report = report_on(runs)
    assert len(report.answers) == 2
    assert "With 8 photos a class: " in on_terminal(report)
    assert "With 72 photos a class: " in on_terminal(report)


def test_a_study_of_one_arms_settings_is_answered_by_what_they_do() -> None:
    runs = []
    for epochs, share in ((5, 0.8), (10, 0.9)):
        for head in ("0", "0.2"):
            for run in several(right={line[0]: int(share * line[6]) for line in STUDY}):
                if run.row == "MobileNetV2_partial":
                    params = {**run.params, "epochs": str(epochs), "freeze.phases.head.epoch_share": head}
                    curves = study_run(run.row, epochs=epochs, val_accuracy=[share] * epochs).curves
                    runs.append(replace(run, run_id=f"{run.run_id} {epochs} {head}", params=params, curves=curves))
    report = report_on(runs)
    title, first = map(plain, [report.answers[0][1].title, *report.answers[0][1].said])
    assert title.startswith("Validation photos choose 10 epochs, ")
    assert first.startswith("Of four ways to train MobileNetV2, top fine-tuned, this one is right 74 times in 100")
    assert "10 epochs instead of 5 epochs changes the accuracy by +" in on_terminal(report)
    assert [question.title for question in report.questions] == ["How did each way of training learn?"]
    assert plain(report.questions[0].lead).endswith("at 80.0 %.")
    assert not report.planned
    assert "takes a pretrained network" not in said(report) + on_terminal(report)


def test_the_matched_view_ends_where_the_least_ends() -> None:
    rows = make_rows(study_runs())
    view = matched_view(rows)
    assert list(view.columns) == ["arm", "5 epochs", "715 optimizer steps"]
    assert view.set_index("arm").loc["CNN from scratch", "5 epochs"] == 0.75


@pytest.mark.parametrize(("number", "words"), [(0, "0 photos"), (1, "1 photo"), (2, "2 photos"), (1.5, "1.5 photos")])
def test_counts_have_their_noun(number: float, words: str) -> None:
    assert counted(number, "photo") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0331, "0.033 s"), (0.44, "0.4 s"), (14.4, "14 s"), (59.7, "1 min"), (217, "3 min 37 s"), (3900, "1 h 5 min"),
     (3599.7, "1 h"), (7200, "2 h")],
)  # fmt: skip
def test_times_are_said_as_one_would(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_carry_no_digit_that_the_interval_does_not() -> None:
    assert points(0.1114, 0.074, 0.148) == "11 points (7 to 15)"
    assert points(0.0204, 0.010, 0.031) == "2.0 points (1.0 to 3.1)"
    assert points(0.0237, 0.0001, 0.0473) == "2.37 points (0.01 to 4.73)"
    assert points(0.001, -0.002, 0.004) == "0.1 points (−0.2 to 0.4)"
    assert in_hundred(0.954, 0.843) == ["95", "84"]
    assert in_hundred(0.954, 0.951) == ["95.4", "95.1"]
    assert in_hundred(0.998, 0.9) == ["99.8", "90.0"]
    assert [times(ratio) for ratio in (0.5, 0.13, 0.029, 1.0, 1.53, 16.4)] == [
        "half", "an eighth of", "1/34 of", "as much as", "1.5 times", "16 times"
    ]  # fmt: skip
