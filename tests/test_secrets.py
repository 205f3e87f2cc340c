"""No secret of a tracking store's address leaves the process: all that commands print and write is searched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafexp import stores
from tests.conftest import CHECKOUT, write_photos
from tests.servers import Server, make_database

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-w0rd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, f"sqlite:///{folder}/server.db")
    yield server
    server.stop()


def address(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """An address with a secret; SQLite's is one of its settings, and leafexp can't know that it is none."""
    if kind == "server":
        return str(request.getfixturevalue("server").uri).replace("//", f"//alice:{SECRET}@")
    if kind == "database":
        made = make_database(request.getfixturevalue("postgres"), "secrets")
        return made.replace("leafexp@", f"leafexp:{SECRET}@")
    return f"sqlite:///{folder}/store.db?cached_statements={number()}"


def number() -> int:
    return 31415926


def stored(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[bytes]:
    """All that is in the store and beside it."""
    places = [folder]
    if kind == "server":
        places.append(request.getfixturevalue("server").folder)
    for place in places:
        yield from (file.read_bytes() for file in place.rglob("*") if file.is_file())
    if kind == "database":
        import psycopg

        with psycopg.connect(f"{request.getfixturevalue('postgres').replace('+psycopg', '')}/secrets") as connection:
            for table in ("params", "tags", "runs", "experiments", "logged_models", "logged_model_params", "inputs"):
                yield repr(connection.execute(f"select * from {table}").fetchall()).encode()  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "kind", ["server", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("database", "query"))]
)
def test_a_secret_of_the_address_is_in_nothing_that_is_printed_or_written(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = address(kind, tmp_path, request)
    secrets = [SECRET, str(number())]
    write_photos(tmp_path / "photos", {"blight": 12, "healthy": 12})
    own = tmp_path / "work"
    own.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # As an installed wheel, which leaves its files where it is called.
    site = tmp_path / "site"
    site.mkdir()
    subprocess.run(["cp", "-r", str(CHECKOUT / "src" / "leafexp"), str(site)], check=True)
    subprocess.run(["cp", "-r", str(CHECKOUT / "conf"), str(site / "leafexp")], check=True)
    kept |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def typed(module: str, *words: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"leafexp.{module}", *words],
            cwd=own, env=kept | environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said.append(done.stdout + done.stderr)
        return said[-1]

    said: list[str] = []
    small = ["model=cnn", "model.network.filters=[4]", "model.network.dense_units=8", "data.image_size=32", "epochs=1"]
    small += ["data=folder", f"data.path={tmp_path / 'photos'}", "freeze=partial"]
    good = "model.partial_from=head_dense"
    given = f"tracking.uri='{uri}'"
    assert ": 1 trained, 1 failed." in typed("train", "-m", *small, f"{good},nowhere", given)
    assert ": 1 trained, 1 failed." in typed(
        "train", "-m", *small, f"{good},nowhere", "seed=1", "hydra.verbose=true", MLFLOW_TRACKING_URI=uri
    )
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=2"]
    assert ": 1 trained, 1 failed." in typed("train", "-m", *small, f"{good},nowhere", *joblib, given)
    assert "Page: " in typed("report", "--tracking-uri", uri)
    assert "There is no run 0000" in typed("verify", "0000", "--tracking-uri", uri)
    assert "No experiment 'none'" in typed("report", "--experiment", "none", MLFLOW_TRACKING_URI=uri)
    study = tmp_path / "conf" / "experiment" / "own.yaml"
    study.parent.mkdir(parents=True)
    study.write_text(f"# @package _global_\ntracking:\n  uri: '{uri}'\n")
    held = ["--config-dir", str(study.parent.parent), "experiment=own"]
    assert ": 1 finished before and skipped, 1 failed." in typed("train", "-m", *small, f"{good},nowhere", *held)
    for flags in (["--cfg", "job"], ["--cfg", "all"], ["--cfg", "job", "--resolve"], ["--info", "all"]):
        assert "***" in typed("train", *small, good, *held, *flags)
        assert "***" in typed("train", *small, good, given, *flags)
    # Other commands' errors, and those of the options themselves.
    typed("audit", *small, "data.path=nowhere", given)
    typed("audit", *small, f"+{given}", "modl=cnn")
    for word in (uri, f"--uri={uri}", f"--uri={uri}".replace("://", ":")):
        for command in ("train", "audit", "relocate", "cache", "report", "verify"):
            typed(command, word)
    typed("train", *small, good, given, "modl=cnn")
    # An address that stands in a file, in all ways of showing it.
    (own / "field").mkdir()
    (own / "field" / "own.yaml").write_text(f"# @package _global_\ntracking:\n  uri: '{uri}'\n")
    in_file = ["--config-dir", "field", "+own=own"]
    (own / "field" / "own").mkdir()
    (own / "field" / "own.yaml").rename(own / "field" / "own" / "own.yaml")
    for show in (["--cfg", "job"], ["--cfg", "all"], ["--cfg", "job", "--package", "tracking.uri"], ["--info", "all"]):
        assert "sqlite" in typed("train", *in_file, *show) or kind != "query"
    (own / "field" / "own" / "own.yaml").unlink()
    typed("audit", "data=folder", f"data.path={tmp_path / 'photos'}", given, "modl=cnn")
    typed("audit", "data=folder", f"data.path={tmp_path / 'nowhere'}", given)
    typed("train", *small, good, f"tracking={{uri:'{uri}',experiment:a}}")
    typed("train", *small, good, f"hydra.job.env_set.MLFLOW_TRACKING_URI='{uri}'")
    # Where nothing answers, and where what answers is no tracking server.
    typed("train", *small, good, f"tracking.uri=http://alice:{SECRET}@127.0.0.1:9")
    typed("report", "--tracking-uri", f"postgresql+psycopg://alice:{SECRET}@127.0.0.1:9/db")
    typed("train", *small, good, f"tracking.uri=postgresql+nodriver://alice:{SECRET}@127.0.0.1/db")
    typed("train", *small, good, f"tracking.uri=sqlite:///{tmp_path}/other.db?key={SECRET}")
    for text in said:
        assert all(secret not in text for secret in secrets), text
    found = list(stored(kind, request, own))
    assert len(found) > 20
    for content in found:
        assert all(secret.encode() not in content for secret in secrets), content[:2000]
    assert stores.shown(uri) not in ("", uri)
