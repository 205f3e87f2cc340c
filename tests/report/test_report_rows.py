from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from golden import STUDY, STUDY_ACCURACIES, TEST_IMAGES, study_run, study_runs

from leafexp import names
from leafexp.report.read.collect import newest_of_each
from leafexp.report.read.runs import Run
from leafexp.report.report import accuracies
from leafexp.report.rows.labels import arm_names
from leafexp.report.rows.row import Row, groups_to_compare, make_rows
from leafexp.report.show.table import raw_table
from leafexp.report.show.terminal import sweep_table

SHOWN = ["MobileNetV2_unfrozen", "MobileNetV2_partial", "MobileNetV2_frozen", "Simple_CNN"]


def labels(runs: list[Run]) -> list[str]:
    return [row.label for row in make_rows(runs)]


def table_of(rows: list[Row]) -> pd.DataFrame:
    return raw_table(rows, accuracies(rows))


def test_the_study_s_numbers() -> None:
    table = table_of(make_rows(study_runs()))
    assert table["model"].tolist() == SHOWN
    assert list(table.columns[:7]) == [
        "model",
        "epochs",
        "avg_epoch_time_sec",
        "total_time_sec",
        "test_accuracy",
        "trainable_params",
        "non_trainable_params",
    ]
    table = table.set_index("model").loc[[line[0] for line in STUDY]]
    assert table["epochs"].tolist() == [10, 10, 10, 5]
    assert table["avg_epoch_time_sec"].tolist() == pytest.approx([line[4] for line in STUDY])
    assert table["total_time_sec"].tolist() == [line[5] for line in STUDY]
    assert table["test_accuracy"].round(6).tolist() == list(STUDY_ACCURACIES)
    assert table["trainable_params"].tolist() == [line[7] for line in STUDY]
    assert table["non_trainable_params"].tolist() == [line[8] for line in STUDY]
    assert table["epochs_to_80"].isna().tolist() == [False, False, False, True]


def test_rows_stand_in_the_study_s_order_controls_last() -> None:
    control = study_run("Simple_CNN", row="Simple_CNN_frozen", freeze="frozen", control=True)
    other = study_run("MobileNetV2_frozen", row="MobileNetV2_warm", freeze="warm")
    runs = [control, other, *reversed(study_runs())]
    assert labels(runs) == [*SHOWN[:3], "MobileNetV2_warm", "Simple_CNN", "Simple_CNN_frozen"]
    assert [row.name for row in make_rows(runs)] == [
        "fine-tuned whole", "top fine-tuned", "head only", "warm", "CNN from scratch", "random CNN, head trained"
    ]  # fmt: skip


def test_rows_that_words_can_not_part_have_their_settings_or_a_letter() -> None:
    arm = ("top fine-tuned", "MobileNetV2")
    settings = [{"epochs": value} for value in ("5", "10")]
    assert arm_names([(*arm, each, True) for each in settings]) == [
        "top fine-tuned (5 epochs)",
        "top fine-tuned (10 epochs)",
    ]
    longer = [{**each, "freeze.phases.head.epoch_share": "0", "optimizer.keras.momentum": "0.9"} for each in settings]
    assert arm_names([(*arm, each, True) for each in longer]) == ["A", "B"]
    two = [("head only", title, {}, True) for title in ("MobileNetV2", "ResNet50V2")]
    assert arm_names(two) == ["MobileNetV2, head only", "ResNet50V2, head only"]


def test_seeds_share_a_row() -> None:
    runs = [study_run("Simple_CNN", seed=seed, right=1300 + 10 * seed) for seed in range(3)]
    (row,) = make_rows(runs)
    table = table_of([row])
    assert table.loc[0, "runs"] == 3
    assert table.loc[0, "test_accuracy"] == pytest.approx(1310 / TEST_IMAGES)
    assert table.loc[0, "test_accuracy_std"] == pytest.approx(10 / TEST_IMAGES)
    assert table.loc[0, "test_accuracy_low"] < 1310 / TEST_IMAGES < table.loc[0, "test_accuracy_high"]


def test_a_differing_parameter_is_in_the_name() -> None:
    runs = [study_run("Simple_CNN", params={"optimizer.learning_rate": rate}) for rate in ("0.001", "0.01")]
    assert labels(runs) == ["Simple_CNN, optimizer.learning_rate=0.001", "Simple_CNN, optimizer.learning_rate=0.01"]


def test_what_the_name_tells_is_not_repeated() -> None:
    runs = [
        study_run("Simple_CNN", params={"model.title": "Simple_CNN"}),
        study_run("MobileNetV2_partial", params={"model.title": "M", "freeze.phases.tune.batch_norm": "learn"}),
    ]
    assert labels(runs) == ["MobileNetV2_partial", "Simple_CNN"]


def test_differing_freeze_settings_part_rows_of_one_name() -> None:
    key = "freeze.phases.tune.batch_norm"
    runs = [study_run("MobileNetV2_partial", params={key: value}) for value in ("learn", "frozen")]
    assert labels([study_run("Simple_CNN"), *runs]) == [
        "MobileNetV2_partial, tune.batch_norm=learn",
        "MobileNetV2_partial, tune.batch_norm=frozen",
        "Simple_CNN",
    ]


def test_differing_epochs_part_rows_of_one_name_once() -> None:
    runs = [
        study_run("MobileNetV2_partial", epochs=5, params={"freeze.phases.tune.epochs": "5"}),
        study_run("MobileNetV2_partial", epochs=6, val_accuracy=[0.5] * 6, params={"freeze.phases.tune.epochs": "6"}),
    ]
    assert labels(runs) == ["MobileNetV2_partial, epochs=5", "MobileNetV2_partial, epochs=6"]


def test_random_weights_show_beside_pretrained_ones() -> None:
    control = study_run("MobileNetV2_frozen", pretrained=False, control=True)
    assert labels([*study_runs(), control])[-1] == "MobileNetV2_frozen, model.weights=None"


def test_other_photos_are_another_row_and_another_group() -> None:
    rows = make_rows([study_run("Simple_CNN"), study_run("Simple_CNN", data_hash="e" * 64)])
    assert [row.label for row in rows] == ["Simple_CNN, data_hash=dddddddd", "Simple_CNN, data_hash=eeeeeeee"]
    assert len(groups_to_compare(rows)) == 2


def test_one_seed_with_two_splits_is_two_rows() -> None:
    rows = make_rows([study_run("Simple_CNN"), study_run("Simple_CNN", split_hash="6" * 64)])
    assert [row.label for row in rows] == ["Simple_CNN, split=55555555", "Simple_CNN, split=66666666"]


def test_only_the_newest_of_equal_runs_is_kept() -> None:
    old, new = study_run("Simple_CNN", started=1, right=1), study_run("Simple_CNN", started=2, sweep="again")
    kept, repeated = newest_of_each([new, old, study_run("Simple_CNN", seed=1, started=3)])
    assert (kept[0], len(kept), repeated) == (new, 2, 1)


def test_predictions_that_contradict_the_accuracy_are_not_used() -> None:
    (row,) = make_rows([study_run("Simple_CNN")])
    assert row.outcomes is not None
    assert row.outcomes.right.mean() == pytest.approx(row.accuracy)
    run = study_run("Simple_CNN")
    run.metrics[names.TEST_ACCURACY] = 0.5
    assert make_rows([run])[0].outcomes is None


def test_folds_of_a_seed_share_a_row_and_each_photo_is_tested_once() -> None:
    folds = []
    for fold in range(3):
        run = study_run("Simple_CNN", params={"data.fold": str(fold)}, tags={names.TEST_HASH: str(fold)})
        assert run.predictions is not None
        part = run.predictions.iloc[fold::3]
        share = float((part["label"] == part["predicted"]).mean())
        folds.append(replace(run, predictions=part, metrics={**run.metrics, names.TEST_ACCURACY: share}))
    (row,) = make_rows(folds)
    assert row.outcomes is not None
    assert row.outcomes.networks == (("0", "0"), ("0", "1"), ("0", "2"))
    assert (np.isfinite(row.outcomes.right).sum(axis=0) == 1).all()
    assert np.nanmean(row.outcomes.right) == pytest.approx(STUDY_ACCURACIES[0], abs=1e-6)


def test_a_run_without_curves_or_extras_still_has_a_row() -> None:
    run = study_run("Simple_CNN", with_predictions=False)
    bare = Run("1", "Simple_CNN", "FINISHED", 1, run.tags, {}, {names.TEST_ACCURACY: 0.9})
    table = table_of(make_rows([bare]))
    assert pd.isna(table.loc[0, "avg_epoch_time_sec"])
    assert table["model"].tolist() == ["Simple_CNN"]


@pytest.mark.parametrize("seconds", [5.0, 3599.0, 86_340.0])
def test_the_table_of_a_sweep_has_80_columns_however_long_its_runs_took(seconds: float) -> None:
    control = study_run("MobileNetV2_partial", pretrained=False, total_seconds=seconds, tags={names.CONTROL: "true"})
    lines = sweep_table([control, study_run("Simple_CNN"), study_run("MobileNetV2_frozen")]).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("random MobileNetV2, top" in line for line in lines) == 1
