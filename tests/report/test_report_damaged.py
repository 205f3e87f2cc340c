"""A store as time and people leave it: the report ends with a report or with a message, never with a traceback."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden import CLASSES, log_runs, study_run
from test_report_page import findings

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.show import render

PHOTOS = 40
IMAGE = "<img src=x onerror=alert(1)>"
ODD_TEXTS = ["", "None", "nan", "inf", "-1", "0", "1e999", "[", "{}", "text", "x" * 400, IMAGE, "a|b", "=1+1"]
ODD_TEXTS += ["$\\frac{", "`x`", "\x1b[31mred", "two\nlines", "\u202eright to left", "false", "[1, 2"]
ODD_NUMBERS = [0.0, -1.0, 93.5, 1e12, 1.7976931348623157e308, None, 0.5, 1e-300]


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two arms with three seeds each, on few photos."""
    from mlflow import MlflowClient
    from mlflow.utils.file_utils import path_to_local_sqlite_uri

    folder = tmp_path_factory.mktemp("damaged")
    shutil.copy(store, folder / "mlflow.db")  # a new one takes MLflow seconds
    client: Any = MlflowClient(path_to_local_sqlite_uri(str(folder / "mlflow.db")))
    experiment = client.create_experiment("damaged", artifact_location=(folder / "mlruns").as_uri())
    labels = [CLASSES[photo % 3] for photo in range(PHOTOS)]
    started = 1_000_000
    for row in ("Simple_CNN", "MobileNetV2_frozen", "MobileNetV2_unfrozen"):
        for seed in range(2):
            predicted = [CLASSES[(photo + (photo < 5 + seed)) % 3] for photo in range(PHOTOS)]
            table = pd.DataFrame({"path": [f"{photo}.jpg" for photo in range(PHOTOS)], "label": labels})
            table = table.assign(group=[f"leaf {photo // 4}" for photo in range(PHOTOS)], predicted=predicted)
            table = table.assign(**{f"probability_{name}": 1 / 3 for name in CLASSES})
            right = float(np.mean(table["label"] == table["predicted"]))
            more = {names.TEST_ACCURACY: right, names.TEST_IMAGES: PHOTOS, names.AUDIT_BORDER_ACCURACY: 0.5}
            more |= {names.PREFIX_SECONDS: 2.0, names.PREFIX_REUSED_SECONDS: 1.0, names.STEADY_COMPUTE_SECONDS: 3.0}
            run = study_run(
                row,
                seed=seed,
                started=started,
                more_metrics=more,
                more_curves={names.COMPUTE_SECONDS: 2.0, names.DATA_SECONDS: 0.1, names.VALIDATION_SECONDS: 0.2},
                tags={names.COMMAND: "python -m leafexp.train data=leafsim", names.HOST: "one"},
            )
            started += 1
            run_id, *_ = log_runs(client, experiment, [replace(run, predictions=table)], folder)
            client.log_dict(run_id, findings(), names.AUDIT_FILE)
            worst = [{"path": "1.jpg", "label": "leaf", "predicted": "rust", "probability": 0.1, "jpeg": "AAAA"}]
            client.log_text(run_id, str(worst).replace("'", '"'), names.WORST_PHOTOS_FILE)
    return folder


@pytest.fixture
def damage(folder: Path) -> Iterator[Callable[[int], None]]:
    """Damages the store in a few ways that a seed decides; each time from the whole store on."""
    with closing(sqlite3.connect(":memory:")) as whole, closing(sqlite3.connect(folder / "mlflow.db")) as live:
        live.backup(whole)
        # In the order in which they were written: the numbers of runs are another's each time.
        written = sorted((folder / "mlruns").rglob("*.*"), key=lambda file: file.stat().st_mtime_ns)
        files = {file: file.read_bytes() for file in written}

        def restore() -> None:
            whole.backup(live)
            for file, content in files.items():
                file.write_bytes(content)

        def damaged(seed: int) -> None:
            restore()
            chance = random.Random(seed)
            for _ in range(chance.randint(1, 5)):
                if chance.random() < 0.3:
                    _file(chance, list(files))
                else:
                    chance.choice((_tag, _param, _metric, _metric, _curve, _status))(chance, live)
            live.commit()

        yield damaged
        restore()


def _tag(chance: random.Random, store: sqlite3.Connection, table: str = "tags") -> None:
    key = chance.choice([key for (key,) in store.execute(f"select distinct key from {table} order by key")])
    whom = _some(chance, store)
    if chance.random() < 0.4:
        store.execute(f"delete from {table} where key = ? and {whom}", (key,))
    else:
        store.execute(f"update {table} set value = ? where key = ? and {whom}", (chance.choice(ODD_TEXTS), key))


def _param(chance: random.Random, store: sqlite3.Connection) -> None:
    _tag(chance, store, "params")


def _metric(chance: random.Random, store: sqlite3.Connection) -> None:
    key = chance.choice([key for (key,) in store.execute("select distinct key from latest_metrics order by key")])
    whom, value = _some(chance, store), chance.choice(ODD_NUMBERS)
    for table in ("metrics", "latest_metrics"):
        if chance.random() < 0.3:
            store.execute(f"delete from {table} where key = ? and {whom}", (key,))
        else:
            values = (value or 0.0, value is None, key)
            store.execute(f"update or ignore {table} set value = ?, is_nan = ? where key = ? and {whom}", values)


def _curve(chance: random.Random, store: sqlite3.Connection) -> None:
    change = chance.choice(("step = -step", "step = 0", "step = step * 1000000", "step = 1", "step = step + step % 3"))
    store.execute(f"update or ignore metrics set {change} where {_some(chance, store)}")


def _status(chance: random.Random, store: sqlite3.Connection) -> None:
    status = chance.choice(("RUNNING", "FAILED", "KILLED", "SCHEDULED"))
    store.execute(f"update runs set status = ? where {_some(chance, store)}", (status,))


def _file(chance: random.Random, files: list[Path]) -> None:
    for file in chance.choice((files, [chance.choice(files)])):
        content = file.read_bytes() if file.exists() else b"written anew"
        match chance.randrange(6):
            case 0:
                file.unlink(missing_ok=True)
            case 1:
                file.write_bytes(content[: chance.randrange(len(content) + 1)])
            case 2:
                file.write_bytes(content.replace(b"group", b"g").replace(b"label", chance.choice((b"l", b"label"))))
            case 3:
                file.write_bytes(chance.randbytes(50))
            case 4:
                file.write_bytes(content.replace(b"leaf", chance.choice(ODD_TEXTS).encode()))
            case 5:
                file.write_bytes(chance.choice((b"{}", b"[]", b"null", b"[1]", b'{"pairs": 3}', b"[{}]")))


def _some(chance: random.Random, store: sqlite3.Connection) -> str:
    """A condition that one run meets, or all."""
    run_ids = [
        run_id for (run_id,) in store.execute("select run_uuid from runs where start_time >= 1e6 order by start_time")
    ]
    return chance.choice(("1", f"run_uuid = '{chance.choice(run_ids)}'"))


@pytest.mark.parametrize(
    "seeds", [range(10), pytest.param(range(10, 348), marks=[pytest.mark.slow, pytest.mark.long])], ids=["few", "many"]
)
def test_a_damaged_store_gives_a_report_or_a_message(
    seeds: range, folder: Path, tmp_path: Path, damage: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures, make_page = render.write_pictures, render.make_page
    reports = 0
    for seed in seeds:
        # Figures and page take most of the time.
        whole = seed % 16 == 0
        monkeypatch.setattr(render, "write_pictures", write_pictures if whole else lambda *_: [])
        monkeypatch.setattr(render, "make_page", make_page if whole else lambda *_: "")
        damage(seed)
        try:
            text = render.write_report(folder, "damaged", "all" if seed % 3 else "latest", output=tmp_path)
        except UserError as error:
            assert 1 <= len(str(error).splitlines()) <= 2, seed
            continue
        reports += 1
        read = {end: (tmp_path / f"report{end}").read_text(encoding="utf-8") for end in (".md", ".html")}
        for shown in (text, read[".md"]):
            assert "\x1b" not in shown and "\u202e" not in shown, seed
        assert IMAGE not in read[".md"] and IMAGE not in read[".html"], seed
    assert reports > 0.7 * len(seeds)
