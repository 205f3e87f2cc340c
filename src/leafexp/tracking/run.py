"""One MLflow run: its start, what it logs and how it ends. With `store`, the only writer to MLflow."""

import contextlib
import io
import logging
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from leafexp import names, stores
from leafexp.errors import UserError
from leafexp.interrupt import ending
from leafexp.tracking.claim import HEARTBEAT_SECONDS, asked_by, process
from leafexp.tracking.machine import forget_peak_memory
from leafexp.tracking.model import log_model
from leafexp.tracking.store import Store

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_MAX_TAG_CHARACTERS = 5000
_PATIENCE_SECONDS = 600
_LOOK_SECONDS = 5
_REFUSALS = 3


@contextlib.contextmanager
def tracked(
    store: Store, row: str, tags: Mapping[str, str], config: Mapping[str, Any], earlier: Run | None = None
) -> Iterator["TrackedRun"]:
    """A run in the store for as long as the block lasts.

    Logs the configuration as parameters and as config.yaml. Ends FINISHED; FAILED with the reason as a tag and the
    traceback as an artifact when the block raises; KILLED when it is interrupted.

    Args:
        store: where.
        row: the run's name.
        tags: its tags.
        config: its configuration.
        earlier: a run that was cut off, to go on with in place of a new one.
    """
    run = _start(store, row, tags, earlier)
    tracked_run = TrackedRun(store, run)
    status = "FINISHED"
    forget_peak_memory()
    silent = threading.Event()
    threading.Thread(target=_beat, args=(store, run.info.run_id, silent), daemon=True).start()
    try:
        if not run.data.params:
            tracked_run.patiently(lambda: mlflow.log_params(names.flat(config)))
        tracked_run.patiently(lambda: mlflow.log_dict(dict(config), names.CONFIG_FILE))
        yield tracked_run
        tracked_run.flush()
    except KeyboardInterrupt as error:
        ending()
        status = "KILLED"
        _say_why(f"interrupted ({error})" if str(error) else "interrupted", None)
        raise
    except BaseException as error:
        status = "FAILED"
        _say_why(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}", error)
        raise
    finally:
        silent.set()
        _end(tracked_run, status)


class TrackedRun:
    """A run being tracked. Logging the same again, after the run was cut off, changes nothing.

    A server that goes away is waited for; what an SQLite store can't take is an error at once.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self.run_id: str = run.info.run_id
        self._store = store
        self._client = MlflowClient(store.uri)
        self._logged = set(run.data.metrics)
        self._taken_up = bool(run.data.params)
        self._waiting: list[Mapping[str, float | int | str]] = []

    def check_same_photos(self, sweep: str, params: Mapping[str, Any], table: pd.DataFrame, data_hash: str) -> None:
        """Raise UserError, naming photos, where an earlier run of the sweep had others by the same settings."""

        def of_data(every: Mapping[str, Any]) -> dict[str, str]:
            return {name: str(value) for name, value in every.items() if name.startswith("data.")}

        like = f"tags.{names.SWEEP} LIKE '%{sweep}%' AND tags.{names.DATA_HASH} != '{data_hash}'"
        others = self.patiently(lambda: self._client.search_runs([self._store.experiment_id], like))
        for other in others:
            if sweep in names.sweeps_of(other.data.tags[names.SWEEP]) and of_data(other.data.params) == of_data(params):
                listed = mlflow.artifacts.load_text(f"{other.info.artifact_uri}/{names.SPLIT_FILE}")
                before = pd.read_csv(io.StringIO(listed), dtype=str).set_index("path")["sha256"]
                raise UserError(_difference(before, table.set_index("path")["sha256"]))

    def log_data(
        self, table: pd.DataFrame, skipped: pd.DataFrame, name: str, source: str, hashes: Mapping[str, str]
    ) -> None:
        """Log the images used, with labels, splits and checksums, those left out, and the hashes as tags."""
        self.log_tags(hashes)
        listed = table[["path", "label", "group", "split", "sha256"]]
        self.log_tables({names.SPLIT_FILE: listed})
        if len(skipped):
            self.log_tables({names.SKIPPED_FILE: skipped})
        counts = table["split"].value_counts()
        self.log_results(
            {
                names.TRAIN_IMAGES: int(counts["train"]),
                names.VALIDATION_IMAGES: int(counts["validation"]),
                names.TEST_IMAGES: int(counts["test"]),
            }
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = hashes[names.DATA_HASH][:36]
            dataset = mlflow.data.from_pandas(listed, source=source, targets="label", name=name, digest=digest)
            self.patiently(lambda: mlflow.log_input(dataset, context="training"))

    def log_epoch(self, row: Mapping[str, float | int | str]) -> None:
        """Log one epoch's metrics in one call; what a server does not take now is kept for later."""
        self._waiting.append(row)
        try:
            self._log_waiting()
        except Exception as error:
            if self._store.database:
                raise self._explained(error) from error
            reason = _first_line(error) if self._answers() else "it does not answer"
            log.warning(
                "The tracking server takes nothing (%s); epoch %s is kept and logged later.", reason, row["epoch"]
            )

    def flush(self) -> None:
        """Log the epochs that are still waiting."""
        self.patiently(self._log_waiting)

    def finish(self) -> None:
        """Say in the store that the run is finished."""
        self._client.set_terminated(self.run_id, "FINISHED")

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Log metrics that a run has one value of; NaN says that one does not apply, and is left out."""
        new = {name: float(value) for name, value in metrics.items() if value == value and name not in self._logged}
        self.patiently(lambda: mlflow.log_metrics(new))
        self._logged |= new.keys()

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log tags known only after the start of the run."""
        self.patiently(lambda: mlflow.set_tags(dict(tags)))

    def log_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Log tables as CSV files by artifact name."""
        for artifact, table in tables.items():
            self.log_text(table.to_csv(index=False), artifact)

    def log_text(self, text: str, artifact: str) -> None:
        """Log a text file."""
        self.patiently(lambda: mlflow.log_text(text, artifact))

    def log_picture(self, figure: Figure, artifact: str) -> None:
        """Log a figure as a PNG."""
        self.patiently(lambda: mlflow.log_figure(figure, artifact))

    def log_model(
        self, model: "keras.Model", example: np.ndarray, probabilities: np.ndarray, classes: list[str]
    ) -> None:
        """Log the model in MLflow's keras flavour, its classes as metadata; `example` pixels give `probabilities`."""
        if self._taken_up:
            self.patiently(self._delete_models)
        self.patiently(lambda: log_model(model, example, probabilities, classes))

    def patiently(self, call: Callable[[], Any]) -> Any:
        """What `call` returns; a server that does not answer is waited for, up to ten minutes.

        Raises:
            UserError: the store can't be used; what happened and what is kept.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        refused = 0
        while True:
            try:
                return call()
            except Exception as error:
                refused += self._answers()
                # A server that is just starting, or lost its connections, may refuse at first.
                if self._store.database or refused > _REFUSALS or time.monotonic() > deadline:
                    raise self._explained(error) from error
            if not refused:
                log.warning("The tracking server does not answer; waiting for it.")
            time.sleep(_LOOK_SECONDS)
            while not self._answers() and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)

    def _answers(self) -> bool:
        try:
            stores.check_answers(self._store.uri)
        except UserError:
            return False
        return True

    def _explained(self, error: Exception) -> UserError:
        where = stores.without_password(self._store.uri)
        return UserError(
            f"The tracking store {where} can't be written: {_first_line(error)}\n"
            "What it holds is kept, and so are the epochs trained so far. Mend it, then give the same command again."
        )

    def _log_waiting(self) -> None:
        while self._waiting:
            row = self._waiting[0]
            # With the time of the epoch's end, so that MLflow keeps an epoch that is logged again only once.
            metrics = [
                Metric(name, float(row[name]), int(row[names.TIMESTAMP]), int(row["epoch"]))
                for name in names.EPOCH_METRICS
            ]
            self._client.log_batch(self.run_id, metrics)
            self._waiting.pop(0)

    def _delete_models(self) -> None:
        """Delete what logging the model left behind when the run was cut off."""
        outputs = self._client.get_run(self.run_id).outputs
        for output in outputs.model_outputs if outputs else []:
            with contextlib.suppress(MlflowException):  # deleted when it was cut off before
                self._client.delete_logged_model(output.model_id)


def _start(store: Store, row: str, tags: Mapping[str, str], earlier: Run | None) -> Run:
    asked = asked_by(earlier, tags[names.SWEEP])
    if earlier is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            all_tags = {names.ROW: row, **tags, **process(), **asked}
            return mlflow.start_run(experiment_id=store.experiment_id, run_name=row, tags=all_tags)
    client = MlflowClient(store.uri)
    run_id = earlier.info.run_id
    times = int(earlier.data.tags.get(names.INTERRUPTIONS, 0)) + 1
    # Before it says RUNNING again, so that nobody takes it for one whose process is gone.
    for name, value in {**process(), **asked, names.INTERRUPTIONS: str(times)}.items():
        client.set_tag(run_id, name, value)
    if names.ERROR in earlier.data.tags:
        client.delete_tag(run_id, names.ERROR)
    mlflow.start_run(run_id=run_id)
    return earlier


def _beat(store: Store, run_id: str, silent: threading.Event) -> None:
    """Say that this process is there, until `silent`."""
    client = MlflowClient(store.uri)
    while not silent.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(Exception):  # the next one may get through
            client.set_tag(run_id, names.HEARTBEAT, f"{time.time():.0f}")


def _say_why(reason: str, error: BaseException | None) -> None:
    try:
        mlflow.set_tag(names.ERROR, reason[:_MAX_TAG_CHARACTERS])
        if error is not None:
            mlflow.log_text("".join(traceback.format_exception(error)), names.TRACEBACK_FILE)
    except Exception as failure:
        log.warning("Why the run ended can't be written to the tracking store: %s", _first_line(failure))


def _end(run: TrackedRun, status: str) -> None:
    try:
        mlflow.end_run(status)
    except Exception as error:
        if status == "FINISHED":
            run.patiently(run.finish)
        else:
            log.warning("The run's end can't be written to the tracking store: %s", _first_line(error))


def _difference(before: pd.Series, now: pd.Series) -> str:
    both = before.index.intersection(now.index)
    kinds = {
        "changed": both[before[both] != now[both]],
        "gone": before.index.difference(now.index),
        "new": now.index.difference(before.index),
    }
    found = [
        f"{kind}: {', '.join(paths[:5])}{f' and {len(paths) - 5} more' if len(paths) > 5 else ''}"
        for kind, paths in kinds.items()
        if len(paths)
    ]
    return (
        f"The photos are not those of this sweep's earlier runs ({'; '.join(found) or 'other labels'}).\n"
        "Put them back and give the same command again, or start a sweep of its own for the photos as they are now."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return stores.without_password(next((line for line in lines if "Error)" in line), lines[0]))[:300]
