"""The student report's four runs as a store would hold them, and other runs made the same way.

1,519 test photos are the one plausible count for which all four accuracies are whole numbers of photos
(1370, 1418, 1425, 1247).
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from leafexp import names
from leafexp.report.read.runs import Run

TEST_IMAGES = 1519
DATA_HASH, SPLIT_HASH = "d" * 64, "5" * 64
# row, model, freeze, epochs, seconds per epoch, total seconds, photos right, trainable, non-trainable
STUDY = (
    ("Simple_CNN", "cnn", "unfrozen", 10, 227.9999, 2280.062, 1370, 3_305_414, 0),
    ("MobileNetV2_frozen", "mnv2", "frozen", 10, 26.25025, 262.5704, 1418, 164_742, 2_257_984),
    ("MobileNetV2_unfrozen", "mnv2", "unfrozen", 10, 36.32653, 363.3306, 1425, 2_388_614, 34_112),
    ("MobileNetV2_partial", "mnv2", "partial", 5, 28.44888, 142.2768, 1247, 1_370_822, 1_051_904),
)
CLASSES = ("leaf", "blight", "rust")  # of the test photos, in turns
STUDY_ACCURACIES = (0.901909, 0.933509, 0.938117, 0.820935)
FIRST_WRONG = {"Simple_CNN": 0, "MobileNetV2_frozen": 40, "MobileNetV2_unfrozen": 90, "MobileNetV2_partial": 30}
VAL_ACCURACY = {
    "Simple_CNN": [0.54, 0.60, 0.68, 0.71, 0.75, 0.74, 0.77, 0.83, 0.88, 0.89],
    "MobileNetV2_frozen": [0.87, 0.90, 0.91, 0.88, 0.90, 0.93, 0.93, 0.91, 0.92, 0.92],
    "MobileNetV2_unfrozen": [0.72, 0.85, 0.77, 0.83, 0.87, 0.89, 0.90, 0.92, 0.93, 0.94],
    "MobileNetV2_partial": [0.64, 0.72, 0.76, 0.78, 0.79],
}


def study_run(row: str, /, **changes: Any) -> Run:
    """One of the study's rows, with changes to what `make_run` takes."""
    name, model, freeze, epochs, epoch_seconds, total_seconds, right, trainable, non_trainable = next(
        line for line in STUDY if line[0] == row
    )
    arguments: dict[str, Any] = {
        "row": name,
        "model": model,
        "freeze": freeze,
        "epochs": epochs,
        "epoch_seconds": epoch_seconds,
        "total_seconds": total_seconds,
        "right": right,
        "first_wrong": FIRST_WRONG[row],
        "trainable": trainable,
        "non_trainable": non_trainable,
        "val_accuracy": VAL_ACCURACY[row],
        "pretrained": model != "cnn",
        "learning_rate": 1e-5 if freeze == "partial" else 1e-3,
    }
    return make_run(**{**arguments, **changes})


def study_runs(**changes: Any) -> list[Run]:
    """The study's four runs, newest last."""
    return [study_run(line[0], started=1000 + index, **changes) for index, line in enumerate(STUDY)]


def make_run(
    row: str,
    model: str,
    freeze: str,
    epochs: int,
    right: int,
    val_accuracy: list[float],
    trainable: int,
    non_trainable: int,
    epoch_seconds: float = 1.0,
    total_seconds: float = 10.0,
    first_wrong: int = 0,
    pretrained: bool = True,
    control: bool = False,
    learning_rate: float = 1e-3,
    seed: int = 0,
    started: int = 1000,
    sweep: str = "study",
    status: str = "FINISHED",
    data_hash: str = DATA_HASH,
    split_hash: str = SPLIT_HASH,
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    more_metrics: dict[str, float] | None = None,
    more_curves: dict[str, float] | None = None,
    with_predictions: bool = True,
) -> Run:
    """A run that got all test photos right but `TEST_IMAGES - right`, counted from photo `first_wrong`."""
    steps = range(1, epochs + 1)
    curves = pd.DataFrame(
        {
            names.ACCURACY: [min(1.0, value + 0.04) for value in val_accuracy],
            names.VAL_ACCURACY: val_accuracy,
            names.LOSS: [0.9 * (1 - value) for value in val_accuracy],
            names.VAL_LOSS: [1.1 * (1 - value) for value in val_accuracy],
            names.EPOCH_SECONDS: epoch_seconds,
            names.LEARNING_RATE: learning_rate,
            **(more_curves or {}),
        },
        index=pd.Index(steps, name="epoch"),
    )
    reached = next((epoch for epoch, value in zip(steps, val_accuracy, strict=True) if value >= 0.8), math.nan)
    metrics = {
        names.TEST_ACCURACY: right / TEST_IMAGES,
        names.TEST_MACRO_F1: right / TEST_IMAGES - 0.01,
        names.TOTAL_SECONDS: total_seconds,
        names.PARAMS_TRAINABLE: trainable,
        names.PARAMS_NON_TRAINABLE: non_trainable,
        names.TRAIN_IMAGES: 4557,
        names.VALIDATION_IMAGES: 1519,
        names.TEST_IMAGES: TEST_IMAGES,
        names.OPTIMIZER_STEPS: 143 * epochs,
        **curves.iloc[-1].to_dict(),
        **(more_metrics or {}),
    }
    if reached == reached:
        metrics[names.epochs_to(80)] = reached
    weights = "imagenet" if pretrained else "None"
    return Run(
        run_id=f"{row}-{sweep}-{seed}-{started}",
        name=row,
        status=status,
        started=started,
        tags={
            names.ROW: row,
            names.MODEL: model,
            names.FREEZE: freeze,
            names.DATA: "plantvillage6",
            names.SEED: str(seed),
            names.SWEEP: sweep,
            names.GIT_COMMIT: "5ad0d2f" + "0" * 33,
            names.DATA_HASH: data_hash,
            names.SPLIT_HASH: split_hash,
            names.WEIGHTS_SOURCE: "ImageNet, Keras host" if pretrained else "none (random)",
            names.PRETRAINED: str(pretrained).lower(),
            names.CONTROL: str(control).lower(),
            **(tags or {}),
        },
        params={
            "epochs": str(epochs),
            "seed": str(seed),
            "sweep": sweep,
            "model.name": model,
            "model.weights": weights,
            "freeze.name": freeze,
            "data.name": "plantvillage6",
            "data.path": "None",
            "data.image_size": "128",
            "optimizer.name": "adam",
            "trainer.batch_size": "32",
            **(params or {}),
        },
        metrics=metrics,
        curves=curves,
        predictions=make_predictions(right, first_wrong) if with_predictions else None,
    )


def make_predictions(right: int, first_wrong: int) -> pd.DataFrame:
    wrong = range(first_wrong, first_wrong + TEST_IMAGES - right)
    photos = range(TEST_IMAGES)
    return pd.DataFrame(
        {
            "path": [f"leaf/{photo}.jpg" for photo in photos],
            "label": [CLASSES[photo % 3] for photo in photos],
            "predicted": [CLASSES[(photo + (photo in wrong)) % 3] for photo in photos],
        }
    )


def log_runs(
    client: Any, experiment_id: str, runs: list[Run], scratch: Path, stored: Callable[[str], str] = names.in_section
) -> list[str]:
    """Write runs into a store as the training does: flat, one value an epoch, predictions as an artifact; their ids.

    `stored` gives the names of metrics; `str` those of earlier versions.
    """
    from mlflow.entities import Metric, Param, RunTag

    run_ids = []
    for run in runs:
        run_id = client.create_run(experiment_id, start_time=run.started, run_name=run.name).info.run_id
        points = [
            Metric(stored(str(name)), value, int(epoch), int(epoch))
            for name, column in run.curves.items()
            for epoch, value in column.items()
        ]
        once = [Metric(stored(key), value, 0, 0) for key, value in run.metrics.items() if key not in run.curves]
        tags = [RunTag(key, value) for key, value in run.tags.items() if value]
        client.log_batch(run_id, [*points, *once], [Param(*item) for item in run.params.items()], tags)
        if run.predictions is not None:
            run.predictions.to_csv(scratch / names.PREDICTIONS_FILE, index=False)
            client.log_artifact(run_id, str(scratch / names.PREDICTIONS_FILE))
        client.set_terminated(run_id, run.status, end_time=run.started + 1)
        run_ids.append(run_id)
    return run_ids
