import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from golden import STUDY, STUDY_ACCURACIES

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "report.py"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    folder = tmp_path_factory.mktemp("report")
    done = run("--tracking-uri", str(store), "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, folder / "out"


def test_what_is_printed(report: tuple[str, str, Path]) -> None:
    printed, errors, _ = report
    assert errors == ""
    for part in ("plantvillage6: 4 networks, one split, 1 seed", "This is not an answer yet.", "93.8 %", "2,388,614"):
        assert part in printed
    commands = [line for line in printed.splitlines() if line.startswith("  python -m leafexp.train")]
    assert max(len(line) for line in printed.splitlines() if line not in commands) <= 80
    assert len(printed.splitlines()) <= 30
    assert printed.splitlines()[-2:] == ["Page: out/report.html", "Table: out/table.csv"]


def test_what_is_written(report: tuple[str, str, Path]) -> None:
    folder = report[2]
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracies.png",
        "matched.csv",
        "pairs.csv",
        "report.html",
        "report.json",
        "report.md",
        "table.csv",
        "table.tex",
        "validation_curves.png",
    ]
    table = pd.read_csv(folder / "table.csv")
    table = table.set_index("model").loc[[line[0] for line in STUDY]]
    assert table["test_accuracy"].round(6).tolist() == list(STUDY_ACCURACIES)
    assert table["avg_epoch_time_sec"].tolist() == [line[4] for line in STUDY]
    assert "fine-tuned whole" in (folder / "table.tex").read_text(encoding="utf-8")
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    shown = {arm["model"]: round(arm["test_accuracy"], 6) for arm in numbers["arms"]}
    assert shown == {line[0]: share for line, share in zip(STUDY, STUDY_ACCURACIES, strict=True)}
    assert {item["verdict"] for item in numbers["comparisons"]} == {"too few networks"}
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert re.search(r"!\[Validation accuracy by epoch: .+\]\(validation_curves.png\)", text)
    assert "| CNN from scratch " in text
    assert "CUDA went away" in text
    assert "2 other sweeps can be shown" in text


@pytest.mark.parametrize(("form", "file"), [("csv", "table.csv"), ("md", "report.md"), ("json", "report.json")])
def test_each_format_is_a_file_alone(
    form: str, file: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ["--tracking-uri", str(store), "--output", str(tmp_path), "--format", form]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr()
    assert end.value.code == 0
    assert printed.out.strip() == (tmp_path / file).read_text(encoding="utf-8").strip()
    assert printed.err == ""


def test_an_error_is_short_and_exits_with_1(tmp_path: Path) -> None:
    done = run("--tracking-uri", str(tmp_path / "none.db"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) <= 2 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['report.py', '--help']\n"
        f"try:\n    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'mlflow', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert time.perf_counter() - started < 2  # 0.1 s on an idle machine


def test_the_report_knows_neither_keras_nor_hydra(tmp_path: Path) -> None:
    code = (
        "import sys, leafexp.report.show.render\n"
        "assert not {'keras', 'tensorflow', 'hydra', 'omegaconf', 'mlflow', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
