"""Tracking servers and databases for tests: the real ones, on ports of their own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def answering(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port: int) -> None:
    for _ in range(240):
        if answering(port):
            return
        time.sleep(0.25)
    raise AssertionError(f"nothing listens at port {port}")


class Server:
    """`mlflow server` over a store, in a folder of its own."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        self.command += ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")]
        self.folder = folder
        self.start()

    def start(self) -> None:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_for(self.port)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # stopped before
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server, without a database's name."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if sys.platform == "linux" else []
    if not programs:
        pytest.skip("needs PostgreSQL, on Debian the package postgresql")
    folder = Path("/tmp") / f"leafexp-postgres-{os.getpid()}"
    folder.mkdir()
    port = free_port()
    as_user: list[str] = []
    if getpass.getuser() == "root":  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, options = str(folder / "data"), f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run(
        [*as_user, str(programs[-1] / "initdb"), "-D", data, "-U", "leafexp", "-A", "trust"],
        check=True, cwd=folder, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    control = [*as_user, str(programs[-1] / "pg_ctl"), "-D", data, "-w"]
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, cwd=folder,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        yield f"postgresql+psycopg://leafexp@127.0.0.1:{port}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


def make_database(postgres: str, name: str) -> str:
    import psycopg

    address = postgres.replace("+psycopg", "")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    return f"{postgres}/{name}"
