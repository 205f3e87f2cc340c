"""Addresses of stores: which can be used, and that none shows what is secret in it."""

import os
import shlex
from pathlib import Path

import pytest

from leafexp import stores, train
from leafexp.errors import UserError
from leafexp.names import folder_name
from leafexp.overrides import scrubbed_command, without_address
from leafexp.settings.compose import check

UNUSABLE = {
    "databricks": "none that leafexp can use. Possible are sqlite:///",
    "databricks://field": "none that leafexp can use",
    "uc:main.leaf": "none that leafexp can use",
    "s3://bucket/mlruns": "none that leafexp can use",
    "mssql+pyodbc://host/db": "none that leafexp can use",
    "mlruns": "none that leafexp can use",
    "file:///mlruns": "none that leafexp can use",
    "": "none that leafexp can use",
    "sqlite://": "names no file, so every run would be lost",
    "sqlite:///": "names no file",
    "sqlite:///:memory:": "names no file",
    "sqlite:///?mode=memory": "names no file",
    "sqlite:///file:x?mode=memory&uri=true": "names no file",
    "sqlite://runs.db": "with three slashes",
    "postgresql://": "names no server",
    "http://": "names no server",
    "http://host/?token=s3cr3t": "MLFLOW_TRACKING_TOKEN",
    "http://alice:s3/cr3t@host": "/ %2F",
    "postgresql://alice:s3?cr3t@host/db": "? %3F",
    "http://alice:s3@cr3t/word@host": "@ is written %40",
    "alice:s3cr3t@host:5000": "none that leafexp can use",
    "postgresql:/alice:s3cr3t@host/db": "postgresql:/*** is none that leafexp can use",
    "host=h password=s3cr3t": "none that leafexp can use",
    "s3cr3t@host": "none that leafexp can use",
    "sqlite://alice:s3cr3t@/x.db": "with three slashes",
    "postgresql://alice:s3cr3t@one:5432,two:5432/db": "Expected one, or postgresql://USER@/NAME?host=",
    "http://one:5000,two:5000": "names several servers. Expected one.",
}


@pytest.mark.parametrize("uri", UNUSABLE)
def test_an_address_that_can_not_be_used_is_refused_in_a_line_without_its_secrets(uri: str) -> None:
    with pytest.raises(UserError) as error:
        stores.usable(uri)
    message = str(error.value)
    assert UNUSABLE[uri] in message
    assert "\n" not in message
    assert "cr3t" not in message
    assert "s3:" not in message.replace("s3://bucket", "")


SECRETS = {
    "http://alice:s3cr3t-w0rd@host:5000/path": "http://***@host:5000/path",
    "http://s3cr3t-w0rd@host": "http://***@host",
    "https://alice:s3%40cr3t%2Fw0rd@[::1]:5000": "https://***@[::1]:5000",
    "http://alice:s3cr3t@s3cr3t@host": "http://***@host",
    "postgresql+psycopg://alice:s3cr3t-w0rd@one:5432,two:5432/db": "postgresql+psycopg://***@one:5432,two:5432/db",
    "postgresql://host/db?password=s3cr3t-w0rd&sslmode=require": "postgresql://host/db?***",
    "sqlite:////a@b/x.db?key=s3cr3t-w0rd": "sqlite:////a@b/x.db?***",
    "postgresql://alice:s3cr3t/r3t-w0rd@host/db": "postgresql://***",
    "postgresql://alice:1234?s3cr3t-w0rd@host/db": "postgresql://***",
    "alice:s3cr3t-w0rd@host:5000": "***",
    "s3cr3t-w0rd@host": "***",
    "//alice:s3cr3t-w0rd@host/db": "***",
    "host:5000?token=s3cr3t-w0rd": "***",
    "alice:s3cr3t-w0rd@host://db": "***",
    "postgresql:/alice:s3cr3t-w0rd@host/db": "postgresql:/***",
    "postgresql:///alice:s3cr3t-w0rd@host/db": "postgresql:///***",
    "sqlite://alice:s3cr3t-w0rd@/x.db": "sqlite://***@/x.db",
    "sqlite:///alice:s3cr3t-w0rd@host/x.db": "sqlite:///***",
    "http://host/a;password=s3cr3t-w0rd": "http://host/a;password=***",
}


@pytest.mark.parametrize("uri", SECRETS)
def test_what_is_secret_in_an_address_is_shown_in_no_form(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stores.shown(uri) == SECRETS[uri]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    secret = next(word for word in uri.replace("@", "/").replace("?", "/").split("/") if "s3" in word)
    secret = secret.rpartition(":")[2].rpartition("=")[2].partition("&")[0]
    said = f"no route to {uri}, {secret}, {secret!r} and {stores.unquote(secret)}: sslmode=require on host"
    clean = stores.scrubbed(said)
    assert "s3" not in clean
    assert "r3t" not in clean
    assert clean.endswith(": sslmode=require on host")


OF_BEFORE = {
    "could not connect to postgresql://alice:s3/cr3t@w0rd@host/db: refused": "postgresql://***: refused",
    "no route to (https://host:5000/a?token=s3cr3t), sorry": "(https://host:5000/a?***), sorry",
    "uri='http://s3cr3t@host'": "uri='http://***@host'",
    "tracking.uri=alice:s3cr3t@host:5000 seed=1": "tracking.uri=***@host:5000 seed=1",
    'connection failed: host=h password=s3cr3t user=x, "token": "s3cr3t"': "password=*** user=x",
}
AS_THEY_ARE = [
    "OSError: /home/ann@example.org/IMG_12.jpg is truncated, at 12:30 by ann@example.org",
    "see https://sqlalche.me/e/20/e3q8 and file:///home/ann@example.org/mlruns",
    "The tracking store sqlite:////home/ann@example.org/mlflow.db can't be used",
    "python -m leafexp.train -m 'data.group_pattern=(leaf:\\d+)' model=cnn,mnv2 tracking.uri=http://host:5000",
]


@pytest.mark.parametrize("text", [*OF_BEFORE, *AS_THEY_ARE])
def test_a_text_loses_what_looks_like_a_secret_and_nothing_else(text: str) -> None:
    clean = stores.scrubbed(text)
    assert OF_BEFORE.get(text, text) in clean
    assert "cr3t" not in clean


def test_a_command_that_an_earlier_version_wrote_down_is_shown_without_its_address() -> None:
    for address in (
        "tracking.uri=postgresql://u:s3cr3t@h/d", "'tracking.uri='\"'\"'postgresql://u:s3 cr3t@h/d'\"'\"''",
        "'tracking.uri=http://h?token=s3cr3t'",
    ):  # fmt: skip
        said = scrubbed_command(f"python -m leafexp.train model=cnn {address} tracking.experiment=beans seed=1")
        assert said == "python -m leafexp.train model=cnn tracking.experiment=beans seed=1"
    assert "s3cr3t" not in scrubbed_command("python -m leafexp.train '+tracking={uri:'\"'\"'http://u:s3cr3t@h'\"'\"'}'")
    plain = "python -m leafexp.train tracking.uri=sqlite:////data/mlflow.db"
    assert scrubbed_command(plain) == plain


def test_links_and_commands_work_and_hold_no_secret() -> None:
    for uri in ("http://alice:s3cr3t@host:5000/a/", "http://s3cr3t@host:5000/a", "http://host:5000/a?token=s3cr3t"):
        assert stores.linked(uri) == "http://host:5000/a"
    secret = "postgresql://alice:s3cr3t@host/db"
    assert stores.typed("mlflow ui", secret).startswith('mlflow ui "$MLFLOW_TRACKING_URI" (first set that variable')
    assert stores.typed("mlflow ui", "sqlite:///a b.db") == "mlflow ui 'sqlite:///a b.db'"
    again = train._again(["model=cnn"], secret)
    assert again.startswith("the same command goes on from here, once MLFLOW_TRACKING_URI is set")
    assert again.endswith(":\n  python -m leafexp.train model=cnn")
    again = train._again(["model=cnn"], "sqlite:///it's a.db")
    assert without_address(shlex.split(again.splitlines()[1])[3:]) == (["model=cnn"], "sqlite:///it's a.db")


def test_an_address_elsewhere_on_the_command_line_is_refused_without_its_secrets() -> None:
    login = "alice:s3cr3t@host"
    for word in (
        f"tracking.url=http://{login}", f"http://{login}", login, f"--uri={login}", "tracking={uri:s3cr3t}",
        f"tracking.experiment={login}", "uri=s3cr3t@host:5000",
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"tracking\.uri=URI, or MLFLOW_TRACKING_URI\.") as error:
            without_address(["model=cnn", word])
        assert "s3cr3t" not in str(error.value)


YAML = {
    "tracking: {uri: 'postgresql://alice:s3cr3t@host/db'}": ["uri: postgresql://***@host/db"],
    "tracking: {uri: s3cr3t@host}": ["uri: '***'"],
    "hydra: {job: {env_set: {MLFLOW_TRACKING_PASSWORD: s3cr3t}}, sweeper: {params: {x: 'http://h?token=s3cr3t'}}}": [
        "MLFLOW_TRACKING_PASSWORD: ***",
        "http://h?***",
    ],
}


@pytest.mark.parametrize("yaml", YAML)
def test_the_configuration_is_shown_without_the_secrets_of_a_yaml_file(
    yaml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\n{yaml}")
    monkeypatch.setattr("sys.argv", ["train.py", "--config-dir", str(tmp_path), "--cfg", "all", "experiment=own"])
    train.main()
    shown = capsys.readouterr()
    assert all(line in shown.out for line in YAML[yaml])
    assert "s3cr3t" not in shown.out + shown.err


@pytest.mark.parametrize(
    "yaml",
    [
        "job: {env_set: {MLFLOW_TRACKING_URI: x}}",
        "job: {env_set: {HTTP_PROXY: 'http://a:s3cr3t@h'}}",
        "sweeper: {params: {tracking.uri: x}}",
    ],
)
def test_a_yaml_file_tells_hydra_no_secret_that_it_would_write(yaml: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\nhydra: {{{yaml}}}")
    with pytest.raises(UserError, match=r"^hydra\.\S+ can't set \S+") as error:
        check(["experiment=own"], str(tmp_path))
    assert "s3cr3t" not in str(error.value)


def test_a_servers_name_and_password_go_where_no_message_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "of before")
    assert stores.usable("http://al%40ice:s3cr3t%2F@host:1/a") == "http://host:1/a"
    assert [os.environ[f"MLFLOW_TRACKING_{name}"] for name in ("USERNAME", "PASSWORD")] == ["al@ice", "s3cr3t/"]
    assert stores.scrubbed("header s3cr3t/, token of before") == "header ***, token ***"


def test_several_servers_of_one_database_are_named_in_the_query() -> None:
    address = "postgresql://alice:w0rd@/runs?host=one:5432&host=two:5432"
    assert stores.usable(address) == address
    stores.check_answers(address)  # their driver finds the one that does


def test_an_sqlite_address_begins_where_the_command_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = stores.usable("sqlite:///a b/own.db?timeout=9")
    assert uri == f"sqlite:///{tmp_path}/a%20b/own.db?timeout=9"
    assert stores.sqlite_file(uri) == tmp_path / "a b" / "own.db"


def test_a_proxy_that_does_not_answer_is_named_and_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:s3cr3t@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        UserError, match=r"host.invalid:5000 is asked through the proxy 127.0.0.1.*NO_PROXY=host.invalid"
    ):
        stores.check_answers("http://host.invalid:5000")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=r"The tracking server 127.0.0.1:9 does not answer"):
        stores.check_answers("http://127.0.0.1:9")


def test_each_experiment_has_a_folder_of_its_own_within_reports() -> None:
    ordinary = ["leafexp", "maize trial-3", "a.b", "x" * 60]
    assert [folder_name(name) for name in ordinary] == ordinary
    others = ["..", ".", "../outside", "/Users/ann@example.org/leaf", "a/b", "a_b/", "a\\b", "audit", "x" * 300,
              "x" * 301, "", " ", "maize: 3?", "Möhre", "a.", folder_name("a/b")]  # fmt: skip
    folders = [folder_name(name) for name in [*ordinary, *others]]
    assert len(set(folders)) == len(folders)
    for name in folders:
        assert Path("reports", name).resolve().parent == Path("reports").resolve()
        assert len(name) <= 80
        assert name[0] != "."
