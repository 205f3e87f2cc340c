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
import yaml
from matplotlib.figure import Figure
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.errors import Paused, UserError
from leafexp.interrupt import ending
from leafexp.stores import scrubbed
from leafexp.tracking.claim import HEARTBEAT_SECONDS, MAX_TAG_CHARACTERS, ClaimLost, check_claim, take
from leafexp.tracking.machine import forget_peak_memory
from leafexp.tracking.model import log_model
from leafexp.tracking.store import Store, first_line

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


@contextlib.contextmanager
def tracked(
    store: Store, row: str, tags: Mapping[str, str], config: Mapping[str, Any], earlier: Run | None = None
) -> Iterator["TrackedRun"]:
    """A run in the store for as long as the block lasts.

    Logs the configuration as parameters and as config.yaml. Ends FINISHED; FAILED with the reason as a tag and the
    traceback as an artifact when the block raises; KILLED when it is interrupted; SCHEDULED when it is paused. Where
    another process has taken the run over, nothing more is written to it.

    Args:
        store: where.
        row: the run's name.
        tags: its tags.
        config: its configuration.
        earlier: a run that was cut off, to go on with in place of a new one.

    Raises:
        Met: another process makes a run of the same identity; look it up again.
    """
    run = take(store, row, tags, earlier)
    tracked_run = TrackedRun(store, run)
    forget_peak_memory()
    silent = threading.Event()
    threading.Thread(target=_beat, args=(tracked_run, silent), daemon=True).start()
    try:
        if not run.data.params:
            tracked_run.log_params(names.flat(config))
        tracked_run.log_config(config)
        yield tracked_run
        tracked_run.flush()
        tracked_run.finish()
    except ClaimLost:
        raise
    except Paused:
        tracked_run.flush()
        tracked_run.pause()
        raise
    except KeyboardInterrupt as error:
        ending()
        tracked_run.give_up("KILLED", f"interrupted ({error})" if str(error) else "interrupted", None)
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        tracked_run.give_up("FAILED", reason, error)
        raise
    finally:
        silent.set()


class TrackedRun:
    """A run being tracked. Logging the same again, after the run was cut off, changes nothing.

    A server that goes away and a file that is locked are waited for; what a store can't take is an error at once. All
    raises ClaimLost where another process has taken the run over.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self.run_id: str = run.info.run_id
        self._word = run.data.tags[names.CLAIM]
        self._store = store
        self._client = MlflowClient(store.uri)
        self._logged = set(map(names.without_section, run.data.metrics))
        self._taken_up = bool(run.data.params)
        self._waiting: list[Mapping[str, float | int | str]] = []

    def check_same_photos(self, sweep: str, params: Mapping[str, Any], table: pd.DataFrame, data_hash: str) -> None:
        """Raise UserError, naming photos, where an earlier run of the sweep had others by the same settings."""
        parts = ("data.fold", "data.split_seed")  # of the same photos

        def of_data(every: Mapping[str, Any]) -> dict[str, str]:
            return {key: str(value) for key, value in every.items() if key.startswith("data.") and key not in parts}

        like = f"tags.{names.SWEEP} LIKE '%{sweep}%' AND tags.{names.DATA_HASH} != '{data_hash}'"
        others = self.patiently(lambda: self._client.search_runs([self._store.experiment_id], like))
        for other in others:
            if sweep in names.sweeps_of(other.data.tags[names.SWEEP]) and of_data(other.data.params) == of_data(params):
                listed = mlflow.artifacts.load_text(f"{other.info.artifact_uri}/{names.SPLIT_FILE}")
                before = pd.read_csv(io.StringIO(listed), dtype=str).set_index("path")["sha256"]
                raise UserError(
                    "The photos are not those of this sweep's earlier runs "
                    f"({changes(before, table.set_index('path')['sha256'])}).\n"
                    "Put them back and give the same command again, or start a sweep of its own for the photos as "
                    "they are now."
                )

    def log_data(
        self, table: pd.DataFrame, skipped: pd.DataFrame, name: str, source: str, hashes: Mapping[str, str]
    ) -> None:
        """Log the images used, with labels, splits and checksums, those left out, and the hashes as tags."""
        self.log_tags(hashes)
        listed = table[["path", "label", "group", "split", "sha256"]]
        self.log_tables({names.SPLIT_FILE: listed})
        if len(skipped):
            self.log_tables({names.SKIPPED_FILE: skipped})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = hashes[names.DATA_HASH][:36]
            dataset = mlflow.data.from_pandas(listed, source=source, targets="label", name=name, digest=digest)
            entry = DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])
            self.patiently(lambda: self._client.log_inputs(self.run_id, [entry]))

    def log_epoch(self, row: Mapping[str, float | int | str]) -> None:
        """Log one epoch's metrics in one call; what a server does not take now is kept for later."""
        self._waiting.append(row)
        try:
            self._log_waiting()
        except ClaimLost:
            raise
        except Exception as error:
            reason = self._store.waited_for(error)
            if self._store.database and not reason:
                raise self._store.explained(error) from error
            reason = reason or f"The tracking server takes nothing ({first_line(error)})"
            log.warning("%s; epoch %s is kept and logged later.", reason, row["epoch"])

    def flush(self) -> None:
        """Log the epochs that are still waiting."""
        self.patiently(self._log_waiting)

    def finish(self) -> None:
        """Say in the store that the run is finished."""
        self.patiently(lambda: self._client.set_terminated(self.run_id, "FINISHED"))

    def pause(self) -> None:
        """Say in the store that the run waits to be gone on with."""
        self.patiently(lambda: self._client.update_run(self.run_id, status=names.PAUSED))

    def give_up(self, status: str, reason: str, error: BaseException | None) -> None:
        """Say in the store, as far as it takes it now, how and why the run ended, with the traceback of an error.

        Nothing is written where the claim is lost or can't be checked.
        """

        def say_why() -> None:
            self._client.set_tag(self.run_id, names.ERROR, scrubbed(reason)[:MAX_TAG_CHARACTERS])
            if error is not None:
                lines = "".join(traceback.format_exception(error))
                self._client.log_text(self.run_id, scrubbed(lines), names.TRACEBACK_FILE)

        def end() -> None:
            self._client.set_terminated(self.run_id, status)

        for write, what in ((say_why, "Why the run ended"), (end, "The run's end")):
            try:
                check_claim(self._client, self.run_id, self._word)
                write()
            except ClaimLost as lost:
                log.warning("%s", lost)
                return
            except Exception as failure:
                log.warning("%s can't be written to the tracking store: %s", what, first_line(failure))

    def still_ours(self) -> None:
        """Raise ClaimLost where another process has taken the run over; a store that can't be asked says nothing."""
        try:
            check_claim(self._client, self.run_id, self._word)
        except ClaimLost:
            raise
        except Exception as error:
            log.debug("The claim can't be checked: %s", first_line(error))

    def beat(self) -> None:
        """Say once in the store that this process is there."""
        check_claim(self._client, self.run_id, self._word)
        self._client.set_tag(self.run_id, names.HEARTBEAT, f"{time.time():.3f}")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log the configuration, one level deep, as the run's parameters."""
        entries = [Param(name, str(value)) for name, value in params.items()]
        self.patiently(lambda: self._client.log_batch(self.run_id, params=entries))

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the configuration as a YAML file."""
        # In its own order, that of phases included: MLflow's log_dict would sort it.
        self.log_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), names.CONFIG_FILE)

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Log metrics that a run has one value of; NaN says that one does not apply, and is left out."""
        new = {name: float(value) for name, value in metrics.items() if value == value and name not in self._logged}
        now = int(time.time() * 1000)
        metrics_now = [Metric(names.in_section(name), value, now, 0) for name, value in new.items()]
        self.patiently(lambda: self._client.log_batch(self.run_id, metrics_now))
        self._logged |= new.keys()

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log tags known only after the start of the run."""
        entries = [RunTag(name, value) for name, value in tags.items()]
        self.patiently(lambda: self._client.log_batch(self.run_id, tags=entries))

    def describe(self, text: str, instead_of: str | None) -> None:
        """Write the run's description where it still is `instead_of`: else a person has written one."""
        if self.patiently(lambda: self._client.get_run(self.run_id)).data.tags.get(names.DESCRIPTION) == instead_of:
            self.log_tags({names.DESCRIPTION: text})

    def log_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Log tables as CSV files by artifact name."""
        for artifact, table in tables.items():
            self.log_text(table.to_csv(index=False), artifact)

    def log_text(self, text: str, artifact: str) -> None:
        """Log a text file."""
        self.patiently(lambda: self._client.log_text(self.run_id, text, artifact))

    def log_picture(self, figure: Figure, artifact: str) -> None:
        """Log a figure as a PNG."""
        self.patiently(lambda: self._client.log_figure(self.run_id, figure, artifact))

    def log_model(
        self, model: "keras.Model", example: np.ndarray, probabilities: np.ndarray, classes: list[str]
    ) -> None:
        """Log the model in MLflow's keras flavour, its classes as metadata; `example` pixels give `probabilities`."""
        if self._taken_up:
            self.patiently(self._delete_models)
        self.patiently(lambda: log_model(self._client.get_run(self.run_id), model, example, probabilities, classes))

    def patiently(self, call: Callable[[], Any]) -> Any:
        """What `call` returns, as `Store.patiently`, if the run is still this process's."""

        def checked() -> Any:
            check_claim(self._client, self.run_id, self._word)
            return call()

        return self._store.patiently(checked)

    def _log_waiting(self) -> None:
        while self._waiting:
            check_claim(self._client, self.run_id, self._word)
            row = self._waiting[0]
            # With the time of the epoch's end, so that MLflow keeps an epoch that is logged again only once.
            metrics = [
                Metric(names.in_section(name), float(row[name]), int(row[names.TIMESTAMP]), int(row["epoch"]))
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


def _beat(run: TrackedRun, silent: threading.Event) -> None:
    """Say that this process is there, until `silent` or until the run is another's."""
    while not silent.wait(HEARTBEAT_SECONDS):
        try:
            run.beat()
        except ClaimLost:
            return  # the next thing to be logged says so
        except Exception as error:
            log.debug("No heartbeat: %s", first_line(error))  # the next one may get through


def changes(before: pd.Series, now: pd.Series) -> str:
    """Which photos changed, went or came, five of each named; both are checksums by path."""
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
    return "; ".join(found) or "other labels"
