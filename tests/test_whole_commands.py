"""What a stranger types, as they type it: the offline sweep, the report, `mlflow ui`, mistakes, Ctrl-C, the wheel."""

import csv
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, REAL_PHOTOS, needs_real_photos, write_photos

pytestmark = pytest.mark.slow


def copy_of_the_checkout(folder: Path) -> Path:
    """A fresh clone, or the work tree where it is not a git checkout."""
    target = folder / "leafexp with a space"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((CHECKOUT / name).read_bytes())
    return target


def run(*words: str, cwd: Path, checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(words), cwd=cwd, env=environment(checkout), capture_output=True, text=True, check=False)


def environment(checkout: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(checkout / "src")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the offline six-run sweep was run from another folder."""
    folder = tmp_path_factory.mktemp("stranger")
    checkout = copy_of_the_checkout(folder)
    done = run(sys.executable, "-m", "leafexp.train", "experiment=smoke", "sweep=first", cwd=folder, checkout=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("smoke: 6 cells, 2 epochs each\n")
    line = r"^  (\d)/6  (?:cnn |mnv2)  (?:frozen  |partial |unfrozen)  seed 0  test "
    assert re.findall(line, done.stdout, re.MULTILINE) == list("123456")
    table = done.stdout[done.stdout.index("Sweep first of experiment smoke") :]
    for row in ("CNN from scratch ", "random CNN, head trained ", "random MobileNetV2, top trained "):
        assert f"\n  {row}" in table or f"\n{row}" in table
    assert max(len(line) for line in table.splitlines() if "python -m" not in line and "http" not in line) <= 80
    assert "http://127.0.0.1:5000/#/experiments/" in table
    # MLflow itself makes an empty folder with the path quoted (leafexp%20with...), for its artifacts.
    left = {path for path in folder.rglob("*") if path.is_file() and checkout not in path.parents}
    assert not left, "nothing is left where the command was typed"
    return checkout


def test_the_report_of_the_sweep(study: Path) -> None:
    done = run(
        sys.executable, "scripts/report.py", "--experiment", "smoke", "--format", "csv", cwd=study, checkout=study
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 6
    columns = "model epochs avg_epoch_time_sec total_time_sec test_accuracy trainable_params non_trainable_params"
    assert list(rows[0])[:7] == columns.split()
    assert {row["epochs"] for row in rows} == {"2"}
    report = study / "reports" / "smoke"
    assert {path.name for path in report.iterdir()} >= {"report.md", "table.csv", "validation_curves.png"}
    assert "There is no answer yet: it takes a pretrained network" in (report / "report.md").read_text()


def test_another_process_gives_the_same_to_the_last_bit(study: Path) -> None:
    which = "select run_uuid from tags where key = 'row' and value = 'MobileNetV2'"
    with closing(sqlite3.connect(study / "mlflow.db")) as database:
        ((run_id,),) = database.execute(which).fetchall()
    done = run(sys.executable, "-m", "leafexp.verify", run_id[:8], cwd=study, checkout=study)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^metrics of 2 epochs +10 +0$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\nEqual, bit for bit.\n")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture
def ui(study: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=study, env=environment(study), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(120):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_a_bare_mlflow_ui_serves_the_runs_and_their_artifacts(ui: str) -> None:
    def ask(path: str, body: dict[str, object]) -> dict[str, list[dict[str, dict[str, str]]]]:
        request = urllib.request.Request(
            f"{ui}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            served: dict[str, list[dict[str, dict[str, str]]]] = json.load(answer)
        return served

    experiments = ask("experiments/search", {"max_results": 10})["experiments"]
    (experiment,) = [item for item in experiments if str(item["name"]) == "smoke"]
    first = {"experiment_ids": [experiment["experiment_id"]], "filter": "tags.sweep = 'first'"}
    runs = ask("runs/search", first)["runs"]
    assert [item["info"]["status"] for item in runs] == ["FINISHED"] * 6
    run_id = runs[0]["info"]["run_id"]
    url = f"{ui}/get-artifact?path=curves.png&run_uuid={run_id}"
    with urllib.request.urlopen(url, timeout=60) as picture:
        assert picture.read(4) == b"\x89PNG"


def test_a_failing_cell_does_not_stop_the_others(study: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"blight": 12, "healthy": 12})
    done = run(
        *(sys.executable, "-m", "leafexp.train", "-m", "model=cnn", "freeze=unfrozen", "model.network.filters=[4]"),
        *("data=folder", f"data.path={tmp_path / 'photos'}", "data.image_size=32", "epochs=1", "sweep=mixed"),
        "optimizer.learning_rate=1e30,0.001",
        cwd=tmp_path,
        checkout=study,
    )
    assert done.returncode == 1
    line = "  1/2  cnn  unfrozen  seed 0  learning_rate=1e+30  failed\nThe loss is no longer finite in epoch 1"
    assert done.stderr.startswith(line)
    assert "\n  2/2  cnn  unfrozen  seed 0  learning_rate=0.001  test " in done.stdout
    assert "Traceback" not in done.stderr
    assert "Sweep mixed of experiment leafexp: 1 trained, 1 failed." in done.stdout
    (failure,) = [line for line in done.stdout.splitlines() if line.startswith("optimizer.learning_rate=1e+30 ")]
    assert "The loss is no longer finite in epoch 1" in failure
    assert "Diverged: The loss is no longer finite" in Path(failure.split("  ")[-1].strip()).read_text()
    assert "\n  CNN from scratch " in done.stdout


def test_ctrl_c_ends_within_seconds_and_keeps_what_is_done(study: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"blight": 12, "healthy": 12})
    command = [
        *(sys.executable, "-m", "leafexp.train", "-m", "model=cnn", "freeze=unfrozen", "epochs=1,100000"),
        *("data=folder", f"data.path={tmp_path / 'photos'}", "data.image_size=32", "sweep=cut"),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(study), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell lets what it runs in the background ignore Ctrl-C, and leafexp.train keeps to that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with closing(sqlite3.connect(study / "mlflow.db")) as database:
        while not database.execute("select 1 from metrics where key = 'loss' and step = 3").fetchone():
            assert process.poll() is None
            time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in err
    assert "\n  CNN from scratch" in out
    assert "killed (interrupted (SIGINT))" in out


def test_photos_that_can_not_be_used_are_named_without_a_traceback(study: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"blight": 12, "healthy": 12})
    (tmp_path / "photos" / "healthy" / "notes.jpg").write_text("not a photo")
    done = run(
        *(sys.executable, "-m", "leafexp.train", "model=cnn", "freeze=unfrozen", "sweep=unreadable"),
        *("data=folder", f"data.path={tmp_path / 'photos'}"),
        cwd=tmp_path,
        checkout=study,
    )
    assert done.returncode == 1
    assert "healthy/notes.jpg: not an image" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_wheel_brings_its_configuration_and_runs_anywhere(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(checkout)], check=True)
    (wheel,) = tmp_path.glob("leafexp-*.whl")
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = str(site)

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, check=False)

    where = typed(sys.executable, "-c", "import leafexp.paths as p; print(p.CONF_DIR, p.ROOT, sep='\\n')")
    assert where.stdout.splitlines() == [str(site / "leafexp" / "conf"), str(home)]
    assert "experiment=" in typed(str(site / "bin" / "leafexp-train"), "--help").stdout
    done = typed(
        *(str(site / "bin" / "leafexp-train"), "experiment=smoke", "model=cnn", "freeze=unfrozen", "epochs=1"),
    )
    assert done.returncode == 0, done.stderr
    report = typed(sys.executable, "-m", "leafexp.report", "--experiment", "smoke")
    assert report.returncode == 0, report.stderr
    assert {path.name for path in home.iterdir()} == {"data", "mlflow.db", "mlruns", "outputs", "reports"}


@needs_real_photos
def test_real_photos_are_learned(study: Path, tmp_path: Path) -> None:
    """Three classes of potato leaves at 48 px, from scratch: chance would be 0.33, the largest class 0.44."""
    done = run(
        *(sys.executable, "-m", "leafexp.train", "model=cnn", "freeze=unfrozen", "epochs=8", "sweep=real"),
        *("data=table", f"data.path={REAL_PHOTOS}", "data.image_size=48", "tracking.experiment=real"),
        "data.classes=[Potato___Early_blight,Potato___Late_blight,Potato___healthy]",
        cwd=tmp_path,
        checkout=study,
    )
    assert done.returncode == 0, done.stderr
    report = run(sys.executable, "-m", "leafexp.report", "--experiment", "real", "--format", "csv", cwd=tmp_path,
                 checkout=study)  # fmt: skip
    (row,) = csv.DictReader(report.stdout.splitlines())
    assert float(row["test_accuracy"]) > 0.75
