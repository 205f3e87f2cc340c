"""The tracking store: where it is, and its safe first use."""

import hashlib
import logging
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

# MLflow reports its usage over the network unless told not to; photos and figures of our users are theirs.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Else each model is loaded again and run on its example, to see which environment variables that reads: 4 s a run.
os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")
# MLflow tries 7 times with pauses of up to 2 minutes; a run has its own patience, and says so.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
# A line with each run's address, which leafexp prints itself.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path, path_to_local_file_uri, path_to_local_sqlite_uri
from mlflow.utils.rest_utils import http_request

from leafexp import names, stores
from leafexp.environment import user
from leafexp.errors import UserError
from leafexp.locks import file_lock

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600
_LOOK_SECONDS = 5
_REFUSALS = 3
_TRIES = 5
# What a shell may hold for other programs, as one inside `mlflow run` does, and what would change a run of leafexp: it
# would be another's run, of another experiment, written late, or with values that MLflow refuses.
_NOT_OURS = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_CONTEXT"),
    *("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_DIR"),
    *("MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "MLFLOW_TRUNCATE_LONG_VALUES"),
    *("MLFLOW_LOCK_MODEL_DEPENDENCIES", "MLFLOW_LOG_UV_FILES", "MLFLOW_SQLALCHEMYSTORE_ECHO"),
)


@dataclass(frozen=True)
class Store:
    """An open tracking store.

    Attributes:
        uri: MLflow's tracking URI.
        experiment: the name of the experiment that runs are logged to.
        experiment_id: its number.
        database: the file of an SQLite store, artifacts beside it in mlruns/; None for a server or another database.
    """

    uri: str
    experiment: str
    experiment_id: str
    database: Path | None

    def charts_link(self, sweep: str) -> str:
        """The page of MLflow's UI with the charts of one sweep, on the server or where `mlflow ui` serves it."""
        server = stores.linked(self.uri) if self.uri.startswith("http") else "http://127.0.0.1:5000"
        where = quote(f"tags.`{names.SWEEP}` LIKE '%{sweep}%'")
        page = f"/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        return f"{server}{page}&searchFilter={where}"

    def ui_command(self) -> str | None:
        """What to type to serve the store, None when a server does already."""
        if self.uri.startswith("http"):
            return None
        if self.database is None or self.database.name != "mlflow.db":
            return stores.typed("mlflow ui --backend-store-uri", self.uri)
        return "mlflow ui" if Path.cwd() == self.database.parent else f"cd '{self.database.parent}' && mlflow ui"

    def patiently(self, call: Callable[[], Any]) -> Any:
        """What `call` returns; a server that does not answer, or a file that is locked, is waited for, ten minutes.

        Raises:
            UserError: the store can't be used; what happened and what is kept.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        refused = 0
        said = False
        while True:
            try:
                return call()
            except UserError:
                raise
            except Exception as error:
                waited_for = self.waited_for(error)
                refused += waited_for is None
                # A server that is just starting, or lost its connections, may refuse at first.
                if (self.database and refused) or refused > _REFUSALS or time.monotonic() > deadline:
                    raise self.explained(error) from error
            if waited_for and not said:
                log.warning("%s; waiting for it.", waited_for)
                said = True
            time.sleep(_LOOK_SECONDS)
            while not self.database and not self._answers() and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)

    def waited_for(self, error: Exception) -> str | None:
        """What the store did not do, where it may do it later; None where it refused."""
        if self.database:
            return "The tracking store is locked by another program" if _is_locked(error) else None
        return None if self._answers() else "The tracking server does not answer"

    def _answers(self) -> bool:
        try:
            stores.check_answers(self.uri)
        except UserError:
            return False
        return True

    def explained(self, error: Exception) -> UserError:
        """What to tell of a store that can't be written."""
        return UserError(
            f"The tracking store {stores.shown(self.uri)} can't be written: {first_line(error)}\n"
            "What it holds is kept, and so are the epochs trained so far. Mend it, then give the same command again."
        )


def open_store(uri: str | None, experiment: str, root: Path) -> Store:
    """Open the store and get or create the experiment; safe when several processes do so at once.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else `root`/mlflow.db.
        experiment: the experiment's name.
        root: the folder of the default store, and of the files of a database server's.

    Raises:
        UserError: the store can't be opened or used.
    """
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    uri = stores.usable(uri or stores.default_uri() or path_to_local_sqlite_uri(str(root / "mlflow.db")))
    database = stores.sqlite_file(uri)
    if database:
        _check_folder(database.parent)
    else:
        stores.check_answers(uri)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs the whole traceback of what is raised and explained here anyway.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # The first use creates some 50 tables; two processes at once leave them half made.
    who = f"{user()} {uri}"
    lock = f"leafexp-{hashlib.sha256(who.encode()).hexdigest()[:16]}.lock"
    deadline = time.monotonic() + PATIENCE_SECONDS
    with file_lock(Path(tempfile.gettempdir()) / lock):
        attempt = 1
        while True:
            try:
                if database and not database.exists():
                    _create(database)
                store = _with_experiment(uri, database, experiment, root)
                break
            except UserError:
                raise
            except Exception as error:
                # Processes of other machines may be making the same tables of a database server.
                again = not database and attempt < _TRIES and not isinstance(error, ImportError)
                if not again and not (_is_locked(error) and time.monotonic() < deadline):
                    raise UserError(_explain(uri, error)) from None
            if database and attempt == 1:
                log.warning("The tracking store is locked by another program; waiting for it.")
            time.sleep(attempt if not database else _LOOK_SECONDS)
            attempt += 1
    if uri.startswith("http"):
        _check_keeps_models(store)
    return store


def _check_keeps_models(store: Store) -> None:
    """Raise UserError for a server of before MLflow 3: a run would be trained, and its model could not be logged."""
    creds = MlflowClient(store.uri)._tracking_client.store.get_host_creds()
    wanted = {"experiment_ids": [store.experiment_id], "max_results": 1}
    answer = http_request(creds, "/api/2.0/mlflow/logged-models/search", "POST", json=wanted)
    if answer.status_code in (404, 405):
        version = http_request(creds, "/version", "GET").text.strip()
        named = f" (MLflow {version})" if re.fullmatch(r"[\w.]{1,20}", version) else ""
        raise UserError(
            f"The tracking server {stores.shown(store.uri)} is too old{named}: it can't keep models. "
            "leafexp needs a server of MLflow 3; or choose another store with tracking.uri=URI."
        )


def _check_folder(folder: Path) -> None:
    """Raise UserError if an SQLite store can't live in `folder`."""
    if not os.access(folder, os.W_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise UserError(
            f"The tracking store can't be opened: {stores.shown_file(folder)} {why}. "
            "Choose another with tracking.uri=URI."
        )
    stores.check_no_file_store(folder)


def _create(database: Path) -> None:
    """Make the tables in another file first: a process killed meanwhile would leave a store that can't be opened."""
    unfinished = database.with_name(f"{database.name}.unfinished")
    for file in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        file.unlink(missing_ok=True)
    MlflowClient(path_to_local_sqlite_uri(str(unfinished))).search_experiments(max_results=1)
    if not database.exists():  # as a server started meanwhile may have made it
        os.replace(unfinished, database)


def _with_experiment(uri: str, database: Path | None, name: str, root: Path) -> Store:
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    # A server says itself where files go; what MLflow would choose for a database is the current folder.
    folder = (database.parent if database else root) / "mlruns"
    location = None if uri.startswith("http") else path_to_local_file_uri(str(folder))
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return Store(uri, name, client.create_experiment(name, artifact_location=location), database)
        except MlflowException as error:
            # Another process, or another machine, was first.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"The experiment {name!r} was deleted in MLflow. Restore it with `mlflow experiments restore "
            f"-x {found.experiment_id}`, or choose another with tracking.experiment=NAME."
        )
    if database and found.artifact_location.startswith("file:") and found.artifact_location != location:
        expected = local_file_uri_to_path(found.artifact_location)
        raise UserError(
            f"The tracking store was moved: its files are expected in {expected}, not beside {database}.\n"
            f"If you moved the folder: python -m leafexp.relocate {shlex.quote(str(database))}"
        )
    return Store(uri, name, found.experiment_id, database)


def _explain(uri: str, error: Exception) -> str:
    """In one or two lines, why a store can't be used, and what to do."""
    text = stores.scrubbed(str(error), uri)
    shown = stores.shown(uri)
    if isinstance(error, ImportError):
        package = error.name or "its driver"
        return f"The tracking store {shown} needs the Python package {package}: pip install {package}."
    if "out-of-date database schema" in text:
        upgrade = stores.typed("mlflow db upgrade", uri)
        return f"The tracking store {shown} is of another MLflow version. After a backup: {upgrade}"
    if any(
        sign in text
        for sign in ("no such table", "no such column", "already exists", "Can't locate revision", "does not exist")
    ):
        return (
            f"The tracking store {shown} is half made: several processes may have made it at once, or the making was "
            f"cut off ({_reason(text)}).\nMove it away and start again."
        )
    if "disk is full" in text:
        return f"The tracking store {shown} can't be used: its disk is full. Free some and start again."
    return f"The tracking store {shown} can't be used: {_reason(text)}"


def _reason(text: str) -> str:
    """The line that says what happened, without what SQLAlchemy wraps around it."""
    lines = text.splitlines() or [""]
    return next((line for line in lines if "Error)" in line), lines[0])[:300]


def first_line(error: BaseException) -> str:
    """What happened, in one line without secrets."""
    return _reason(stores.scrubbed(str(error))) or type(error).__name__


def _is_locked(error: BaseException) -> bool:
    return "database is locked" in str(error)
