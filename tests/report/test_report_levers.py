"""A study of levers: each is set against the same arm without it; networks that were stopped early are told."""

from dataclasses import replace

import pytest
import yaml
from golden import STUDY, study_run
from test_report_say import report_on, several

from leafexp import names
from leafexp.paths import CONF_DIR
from leafexp.report.evidence.comparisons import settings_varied
from leafexp.report.read.collect import Run
from leafexp.report.read.settings import defaults, same_value
from leafexp.report.rows.budget import unequal
from leafexp.report.rows.labels import _NO_LEVER
from leafexp.report.rows.learning import at_epoch, curve, epochs
from leafexp.report.rows.row import make_rows
from leafexp.report.say.words import plain
from leafexp.report.show.curves import phases_told
from leafexp.report.show.terminal import on_terminal, setting_of

UNSET = {
    "trainer.class_weights": "None",
    "trainer.label_smoothing": "0.0",
    "trainer.patience": "None",
    "optimizer.clipnorm": "None",
}
LEVERS = {
    "trainer.class_weights": ("balanced", "class weights"),
    "trainer.label_smoothing": ("0.1", "label smoothing 0.1"),
    "trainer.patience": ("3", "patience 3"),
    "optimizer.clipnorm": ("1.0", "clipping at 1.0"),
}
ALIKE = {"epochs": 10, "val_accuracy": [0.9] * 10}


def study() -> list[Run]:
    every = [UNSET, *({**UNSET, key: value} for key, (value, _) in LEVERS.items())]
    return [run for params in every for run in several(params=params, **ALIKE)]


@pytest.mark.slow
def test_each_lever_is_compared_with_the_arm_without_it_and_with_no_other() -> None:
    report = report_on(study())
    arms = ["fine-tuned whole", "top fine-tuned", "head only", "CNN from scratch"]
    assert {row.name for row in report.rows} == {
        f"{arm}{words}" for arm in arms for words in ["", *(f" ({said})" for _, said in LEVERS.values())]
    }
    assert {row.label for row in report.rows if row.name in arms} == {line[0] for line in STUDY}
    for key, (_, said) in LEVERS.items():
        made = [item for item in report.comparisons if item.kind == key]
        assert {(item.one.name, item.other.name) for item in made} == {(f"{arm} ({said})", arm) for arm in arms}
        (effect,) = [found for found in report.effects if found.setting == key]
        assert len(effect.pairs) == len(arms)
    assert {item.kind for item in report.comparisons} == {*LEVERS, "transfer", "freezing"}
    text = on_terminal(report)
    assert "\nWith no lever: " in text
    assert "\nWith label smoothing 0.1: " in text


def test_the_shipped_study_calls_each_row_by_its_arm_and_lever() -> None:
    whole = yaml.safe_load((CONF_DIR / "experiment" / "what_helps.yaml").read_text())
    levers = {}
    for lever in whole["hydra"]["sweeper"]["params"]["lever"].split(","):
        values = names.flat(yaml.safe_load((CONF_DIR / "lever" / f"{lever}.yaml").read_text()) or {})
        levers[lever] = {key: str(value) for key, value in values.items()}
    assert {"views8", "test_views8", "image160"} < levers.keys()
    unset = {**UNSET, "data.views": "1", "data.test_views": "1", "data.fit": "squeeze"}
    rows = make_rows([run for given in levers.values() for run in single({**unset, **given})])
    arms = [row.name for row in rows if row.label in {line[0] for line in STUDY}]
    assert sorted(arms) == ["CNN from scratch", "fine-tuned whole", "head only", "top fine-tuned"]
    for arm in arms:
        assert sum(row.name.startswith(f"{arm} (") for row in rows) == len(levers) - 1
    pairs = settings_varied(rows)
    assert pairs.keys() == {key for given in levers.values() for key in given}
    for made in pairs.values():
        assert {other.name for _, other in made} == {*arms}
        assert len(made) == len(arms)


def single(params: dict[str, str]) -> list[Run]:
    return [study_run(line[0], params=params, with_predictions=False, **ALIKE) for line in STUDY]


def test_what_goes_without_saying_is_what_ships() -> None:
    for data in ("folder", "table", "leafsim"):
        usual = defaults({"data.name": data, "optimizer.name": "adam"})
        assert all(same_value(usual[key], value) for key, value in _NO_LEVER.items())


def test_a_study_of_one_setting_says_its_usual_value_too() -> None:
    report = report_on([run for size in ("128", "160") for run in single({"data.image_size": size})])
    assert [setting_of(report, rows) for rows, _ in report.answers] == ["With 128 px", "With 160 px"]


def test_runs_of_before_there_were_levers_are_the_arm_without_one() -> None:
    """A sweep that was begun with an earlier version goes on as one row."""
    from leafexp.report.read.settings import missing_settings

    runs = [*several(**ALIKE)[:1], *several(params=UNSET, **ALIKE)[1:3]]
    assert len({run.row for run in runs}) == 1
    assumed = missing_settings([run.params for run in runs])
    (row,) = make_rows(
        [replace(run, params={**run.params, **lacking}) for run, lacking in zip(runs, assumed, strict=True)]
    )
    assert len(row.runs) == 3


def stopped(seed: int, epoch: int, gain: float = 0.0) -> Run:
    """A network of ten planned epochs that patience ended after this one."""
    accuracies = [0.8 + gain * number for number in range(epoch)]
    run = study_run("Simple_CNN", seed=seed, epochs=epoch, val_accuracy=accuracies)
    return replace(run, params={**run.params, **UNSET, "epochs": "10", "trainer.patience": "3"})


def test_networks_that_were_stopped_early_are_counted_as_they_were_trained() -> None:
    others = several(params={**UNSET, "trainer.patience": "3"}, **ALIKE)
    runs = [stopped(0, 5), stopped(1, 6, 0.01), stopped(2, 10), *[run for run in others if run.row != "Simple_CNN"]]
    rows = make_rows(runs)
    cnn = rows[-1]
    assert epochs(cnn) == 7
    assert list(unequal(rows)["epochs"]) == ["10", "7"]
    # Over networks that are all there: after the fifth epoch, the mean would be of others.
    assert list(curve(cnn).index) == [1, 2, 3, 4, 5]
    assert at_epoch(cnn, "val_accuracy", -1) == pytest.approx((0.8 + 0.85 + 0.8) / 3)
    assert phases_told(cnn, [(5, "all")]).endswith(" (the first network; patience ended others at other epochs)")


def test_a_network_alone_has_no_others_that_patience_ended() -> None:
    (row,) = make_rows([stopped(0, 5)])
    assert phases_told(row, [(5, "all")]) == "5 epochs all layers at 0.001"


def test_what_still_improved_when_patience_ended_it_lacked_patience_and_not_epochs() -> None:
    runs = [stopped(seed, 8, 0.02) for seed in range(3)]
    (said,) = [plain(it.sentence) for it in report_on(runs).caveats if "still gaining" in plain(it.sentence)]
    assert "trainer.patience=3 may be too short for it" in said
    assert "epochs may be too few" not in said
