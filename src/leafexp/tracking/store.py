"""The tracking store: where it is, and its safe first use."""

import getpass
import hashlib
import logging
import os
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# MLflow reports its usage over the network unless told not to; photos and figures of our users are theirs.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Else each model is loaded again and run on its example, to see which environment variables that reads: 4 s a run.
os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")
# MLflow tries 7 times with pauses of up to 2 minutes; a run has its own patience, and says so.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path, path_to_local_file_uri, path_to_local_sqlite_uri

from leafexp import names, stores
from leafexp.errors import UserError

_TRIES = 5


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
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        where = quote(f"tags.`{names.SWEEP}` LIKE '%{sweep}%'")
        page = f"/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        return f"{server.rstrip('/')}{page}&searchFilter={where}"

    def ui_command(self) -> str | None:
        """What to type to serve the store, None when a server does already."""
        if self.uri.startswith("http"):
            return None
        if self.database is None or self.database.name != "mlflow.db":
            return f"mlflow ui --backend-store-uri '{stores.without_password(self.uri)}'"
        return "mlflow ui" if Path.cwd() == self.database.parent else f"cd '{self.database.parent}' && mlflow ui"


def open_store(uri: str | None, experiment: str, root: Path) -> Store:
    """Open the store and get or create the experiment; safe when several processes do so at once.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else `root`/mlflow.db.
        experiment: the experiment's name.
        root: the folder of the default store, and of the files of a database server's.

    Raises:
        UserError: the store can't be opened or used.
    """
    uri = uri or stores.default_uri() or path_to_local_sqlite_uri(str(root / "mlflow.db"))
    database = stores.sqlite_file(uri)
    if database:
        _check_folder(database.parent)
    else:
        stores.check_answers(uri)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs the whole traceback of what is raised and explained here anyway.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # The first use creates some 50 tables; two processes at once leave them half made.
    who = f"{getpass.getuser()} {uri}"
    lock = f"leafexp-{hashlib.sha256(who.encode()).hexdigest()[:16]}.lock"
    with FileLock(Path(tempfile.gettempdir()) / lock):
        for attempt in range(1, _TRIES + 1):
            try:
                if database and not database.exists():
                    _create(database)
                return _with_experiment(uri, database, experiment, root)
            except UserError:
                raise
            except Exception as error:
                # Processes of other machines may be making the same tables of a database server.
                if database or attempt == _TRIES:
                    raise UserError(_explain(uri, error)) from None
                time.sleep(attempt)
    raise AssertionError("returned or raised")


def _check_folder(folder: Path) -> None:
    """Raise UserError if an SQLite store can't live in `folder`."""
    if not os.access(folder, os.W_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise UserError(f"The tracking store can't be opened: {folder} {why}. Choose another with tracking.uri=URI.")
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
    text = str(error)
    shown = stores.without_password(uri)
    if "out-of-date database schema" in text:
        return f"The tracking store {shown} is of another MLflow version. After a backup: mlflow db upgrade {shown}"
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
