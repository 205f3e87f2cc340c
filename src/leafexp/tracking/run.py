"""One MLflow run: its start, what it logs and how it ends. With `store`, the only writer to MLflow."""

import contextlib
import functools
import importlib.metadata
import math
import os
import re
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.models import Model

from leafexp import names
from leafexp.errors import UserError
from leafexp.paths import IN_CHECKOUT, ROOT
from leafexp.tracking.store import Store

_MAX_TAG_CHARACTERS = 5000
_CLEAR_PEAK, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux's


@contextlib.contextmanager
def tracked(store: Store, row: str, tags: Mapping[str, str], config: Mapping[str, Any]) -> Iterator[str]:
    """A run in the store for as long as the block lasts; yields its id.

    Logs the configuration as parameters and as config.yaml. Ends FINISHED; FAILED with the reason as a tag when the
    block raises; KILLED on Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = mlflow.start_run(experiment_id=store.experiment_id, run_name=row, tags={names.ROW: row, **tags})
    status = "FINISHED"
    with contextlib.suppress(OSError):
        _CLEAR_PEAK.write_text("5")
    try:
        mlflow.log_params(dict(_flat(config)))
        mlflow.log_dict(dict(config), names.CONFIG_FILE)
        yield run.info.run_id
    except KeyboardInterrupt:
        status = "KILLED"
        mlflow.set_tag(names.ERROR, "interrupted")
        raise
    except BaseException as error:
        status = "FAILED"
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        mlflow.set_tag(names.ERROR, reason[:_MAX_TAG_CHARACTERS])
        raise
    finally:
        mlflow.end_run(status)


def log_data(
    table: pd.DataFrame, skipped: pd.DataFrame, name: str, source: str, data_hash: str, split_hash: str
) -> None:
    """Log the images used, with labels, splits and checksums, and those left out."""
    mlflow.set_tags({names.DATA_HASH: data_hash, names.SPLIT_HASH: split_hash})
    listed = table[["path", "label", "group", "split", "sha256"]]
    mlflow.log_text(listed.to_csv(index=False), names.SPLIT_FILE)
    if len(skipped):
        mlflow.log_text(skipped.to_csv(index=False), names.SKIPPED_FILE)
    counts = table["split"].value_counts()
    mlflow.log_metrics(
        {
            names.TRAIN_IMAGES: int(counts["train"]),
            names.VALIDATION_IMAGES: int(counts["validation"]),
            names.TEST_IMAGES: int(counts["test"]),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlflow.data.from_pandas(listed, source=source, targets="label", name=name, digest=data_hash[:36])
        mlflow.log_input(dataset, context="training")


def log_epoch(row: Mapping[str, float | int | str]) -> None:
    """Log one epoch's metrics in one call."""
    mlflow.log_metrics({name: float(row[name]) for name in names.EPOCH_METRICS}, step=int(row["epoch"]))


def log_results(metrics: Mapping[str, float]) -> None:
    """Log metrics that a run has one value of; NaN says that one does not apply, and is left out."""
    mlflow.log_metrics({name: float(value) for name, value in metrics.items() if value == value})


def peak_memory_mb() -> float:
    """The most memory this process had resident since its run began, in 10^6 bytes; NaN where only Linux tells.

    In a sweep it includes what earlier runs of the process left behind.
    """
    if not os.access(_CLEAR_PEAK, os.W_OK):
        return math.nan
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(kibibytes) * 1024 / 1e6


def log_tags(tags: Mapping[str, str]) -> None:
    """Log tags known only after the start of the run."""
    mlflow.set_tags(dict(tags))


def log_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Log tables as CSV files by artifact name."""
    for artifact, table in tables.items():
        mlflow.log_text(table.to_csv(index=False), artifact)


def log_picture(figure: Figure, artifact: str) -> None:
    """Log a figure as a PNG."""
    mlflow.log_figure(figure, artifact)


def log_model(model: keras.Model, example: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> None:
    """Log the model in MLflow's keras flavour, its classes as metadata; from `example` pixels to `probabilities`."""
    # With the requirements given, MLflow need not find them out by loading the model in a process of its own.
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "tensorflow", "numpy")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Model.log(
            None,
            # mlflow.keras.log_model, but for a folder that save_model expects and does not make (mlflow#16183).
            SimpleNamespace(__name__="mlflow.keras", save_model=_save_model),
            name=names.MODEL_NAME,
            # Without the optimizer: a third of the size, and it loads where leafexp is not installed.
            model=keras.Model(model.inputs, model.outputs),
            signature=mlflow.models.infer_signature(example, probabilities),
            input_example=example,
            pip_requirements=requirements,
            metadata={"classes": classes},
            # Else the model is loaded again and run on its example: 6 s.
            validate_serving_input=False,
        )


def _save_model(path: str, validate_serving_input: bool, **arguments: Any) -> None:  # noqa: ARG001
    Path(path).mkdir(parents=True, exist_ok=True)
    mlflow.keras.save_model(path=path, **arguments)


@functools.cache  # the code of this process is the code it started with
def git_commit() -> str:
    """The commit this code is at, with `-dirty` when files differ from it; the installed version outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        if IN_CHECKOUT:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return f"none (leafexp {importlib.metadata.version('leafexp')})"


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
