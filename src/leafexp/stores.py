"""Where a tracking store is and whether it can be reached: what writing and reading it have in common."""

import os
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from leafexp.errors import UserError

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_CONNECT_SECONDS = 5.0


def default_uri() -> str | None:
    """The environment's MLFLOW_TRACKING_URI, None where it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store, None for another."""
    if not uri.startswith("sqlite"):
        return None
    return Path(unquote(uri.partition(":///")[2].partition("?")[0])).absolute()


def check_no_file_store(folder: Path) -> None:
    """Raise UserError where `folder` or its mlruns/ is a store of MLflow before 3."""
    for store in (folder, folder / "mlruns"):
        if any(meta.parent.name.isdigit() for meta in store.glob("*/meta.yaml")):
            raise UserError(
                f"{store} is an old MLflow file store, which MLflow no longer reads; move it away, or\n"
                f"convert it: mlflow migrate-filestore --source {store} --target sqlite:///mlflow.db"
            )


def check_answers(uri: str) -> None:
    """Raise UserError where nothing listens at a server's or database's address; at once, not after MLflow's tries."""
    parts = urlsplit(uri)
    if not parts.hostname or parts.scheme in getproxies():
        return
    port = parts.port or _PORTS.get(parts.scheme.split("+")[0], 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"The tracking server {parts.hostname}:{port} does not answer: {error}.") from None


def without_password(uri: str) -> str:
    """The URI as it may be shown."""
    before, at, after = uri.rpartition("@")
    return f"{before.partition('//')[0]}//***@{after}" if at and "//" in before else uri
