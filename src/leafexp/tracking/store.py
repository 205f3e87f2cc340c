"""The tracking store: where it is, and its safe first use."""

import getpass
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

# MLflow reports its usage over the network unless told not to; photos and figures of our users are theirs.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Else each model is loaded again and run on its example, to see which environment variables that reads: 4 s a run.
os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import path_to_local_file_uri, path_to_local_sqlite_uri

from leafexp import names
from leafexp.errors import UserError


@dataclass(frozen=True)
class Store:
    """An open tracking store.

    Attributes:
        uri: MLflow's tracking URI.
        experiment_id: the experiment that runs are logged to.
        database: the file of an SQLite store, artifacts beside it in mlruns/; None for a server or another database.
    """

    uri: str
    experiment_id: str
    database: Path | None

    def charts_link(self, sweep: str) -> str:
        """The page of MLflow's UI with the charts of one sweep, on the server or where `mlflow ui` serves it."""
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        where = quote(f"tags.`{names.SWEEP}` = '{sweep}'")
        page = f"/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        return f"{server.rstrip('/')}{page}&searchFilter={where}"

    def ui_command(self) -> str | None:
        """What to type to serve the store, None when a server does already."""
        if self.uri.startswith("http"):
            return None
        if self.database is None or self.database.name != "mlflow.db":
            return f"mlflow ui --backend-store-uri '{self.uri}'"
        return "mlflow ui" if Path.cwd() == self.database.parent else f"cd '{self.database.parent}' && mlflow ui"


def open_store(uri: str | None, experiment: str, root: Path) -> Store:
    """Open the store and get or create the experiment; safe when several processes do so at once.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else `root`/mlflow.db.
        experiment: the experiment's name.
        root: the folder of the default store.

    Raises:
        UserError: the store can't be opened.
    """
    default = path_to_local_sqlite_uri(str(root / "mlflow.db"))
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default
    database = None
    if uri.startswith("sqlite:///"):
        database = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()
        _check_folder(database.parent)
    # The first use creates some 50 tables; two processes at once leave them half made.
    who = f"{getpass.getuser()} {uri}"
    lock = f"leafexp-{hashlib.sha256(who.encode()).hexdigest()[:16]}.lock"
    with FileLock(Path(tempfile.gettempdir()) / lock):
        return _with_experiment(Store(uri, "", database), experiment)


def _check_folder(folder: Path) -> None:
    """Raise UserError if an SQLite store can't live in `folder`."""
    if not os.access(folder, os.W_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise UserError(f"The tracking store can't be opened: {folder} {why}. Choose another with tracking.uri=URI.")
    if old := next(folder.glob("mlruns/[0-9]*/meta.yaml"), None):
        raise UserError(
            f"{old.parents[1]} is a file store of MLflow before 3; it can't share a folder with mlflow.db. "
            "Move it away, or convert it with `mlflow migrate-filestore`."
        )


def _with_experiment(store: Store, name: str) -> Store:
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(store.uri)
    client = MlflowClient(store.uri)
    try:
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                location = path_to_local_file_uri(str(store.database.parent / "mlruns")) if store.database else None
                experiment_id = client.create_experiment(name, artifact_location=location)
            except MlflowException as error:
                # Another process, or another machine, was first.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise error
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise UserError(
                    f"The experiment {name!r} was deleted in MLflow. Restore it with `mlflow experiments restore "
                    f"-x {found.experiment_id}`, or choose another with tracking.experiment=NAME."
                )
            experiment_id = found.experiment_id
    except MlflowException as error:
        raise UserError(f"The tracking store {store.uri} can't be used: {str(error).splitlines()[0]}") from None
    return Store(store.uri, experiment_id, store.database)
