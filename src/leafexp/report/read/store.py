"""The tracking store, opened for reading; what is not there is said, never created."""

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from leafexp import stores
from leafexp.errors import UserError


def default_tracking_uri(root: Path) -> str:
    """The environment's MLFLOW_TRACKING_URI, else the SQLite file `root`/mlflow.db."""
    return stores.default_uri() or str(root / "mlflow.db")


def open_client(tracking_uri: str) -> Any:
    """An MlflowClient for a store that exists; `tracking_uri` may also be the path of an SQLite file.

    Raises:
        UserError: the store is not there, does not answer, or is of the old file kind. Nothing is created.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme in ("", "file"):
        tracking_uri = _sqlite_uri(Path(unquote(parts.path) if parts.scheme else tracking_uri))
    elif file := stores.sqlite_file(tracking_uri):
        _check_sqlite(file)
    else:
        tracking_uri = stores.usable(tracking_uri)
        stores.check_answers(tracking_uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return ask("Can't open the tracking store", lambda: MlflowClient(tracking_uri=tracking_uri))


def ask(complaint: str, call: Callable[..., Any], **arguments: Any) -> Any:
    """What `call` returns, or a UserError of one line.

    A store fails in as many ways as it has drivers (MLflow's, SQLAlchemy's, requests'), hence every exception.
    """
    try:
        return call(**arguments)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{complaint}: {stores.scrubbed(lines[0])[:300]}") from error


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Leave garbage that needs searching for until the block ends.

    Runs, points and imported modules are hundreds of thousands of objects that stay. Searching them again and again
    takes twice as long as reading a thousand runs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _sqlite_uri(path: Path) -> str:
    path = path.expanduser().absolute()
    if path.is_dir():
        stores.check_no_file_store(path)
        path = path / "mlflow.db"
    _check_sqlite(path)
    from mlflow.utils.file_utils import path_to_local_sqlite_uri

    return str(path_to_local_sqlite_uri(str(path)))


def _check_sqlite(path: Path) -> None:
    if not path.is_file():
        stores.check_no_file_store(path.parent)
        raise UserError(
            f"No tracking store at {stores.shown_file(path)}.\nTrain first, or say where it is with --tracking-uri."
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("select 1 from sqlite_master where name = 'experiments'").fetchall()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not an MLflow store: {error}.") from None
    if not tables:
        raise UserError(f"{path} is not an MLflow store: it has no table of experiments.")
