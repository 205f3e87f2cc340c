"""The pages tell the truth: their commands compose, the files they name are there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from leafexp.report.__main__ import make_parser
from leafexp.settings.compose import cells, check, planned, search
from tests.conftest import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
PAGES = {page: (CHECKOUT / page).read_text() for page in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")}
HEADERS = [line.removeprefix("# ") for file in (CHECKOUT / "conf" / "experiment").glob("*.yaml") for line in
           file.read_text().splitlines() if line.startswith("# python")]  # fmt: skip


def shown_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README + PAGES["CONTRIBUTING.md"], flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "FIELD").mkdir()
    (tmp_path / "labels.yaml").touch()
    (tmp_path / "photos.csv").touch()
    (tmp_path / "plantvillage6.csv").touch()
    return tmp_path


@pytest.mark.parametrize("command", [*shown_commands(), *HEADERS])
def test_every_command_shown_is_one_that_works(command: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    words = shlex.split(command, comments=True)
    if words[:3] == ["python", "-m", "leafexp.train"]:
        check([word for word in words[3:] if word != "-m"])
    elif words[:3] == ["python", "-m", "leafexp.audit"]:
        assert (CHECKOUT / "src" / "leafexp" / "audit" / "__main__.py").is_file()
        check(words[3:])
    elif words[:2] == ["python", "scripts/report.py"]:
        assert (CHECKOUT / "scripts" / "report.py").is_file()
        make_parser().parse_args(words[2:])
    elif words[:3] == ["python", "-m", "leafexp.search"]:
        search([word for word in words[3:] if word.startswith("search.")])
        check([word for word in words[3:] if word != "-m" and not word.startswith("search.")])
    elif words == ["python", "-m", "leafexp.relocate"]:
        assert (CHECKOUT / "src" / "leafexp" / "relocate.py").is_file()
    elif words[:3] == ["python", "-m", "leafexp.cache"]:
        assert words[3:] in ([], ["--clear"])
    elif words[1].startswith("benchmarks/"):
        source = (CHECKOUT / words[1]).read_text()
        assert all(f'"{word}"' in source for word in words[2:] if word != "PHOTOS")
    elif ".venv/bin/pytest" in words:
        assert (CHECKOUT / words[-1]).is_file()
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (CHECKOUT / "Makefile").read_text()
    else:
        assert words in (["mlflow", "ui"], ["pip", "install", "-e", "."])


def test_studies_have_as_many_runs_as_is_said() -> None:
    told = {
        experiment: re.findall(rf"experiment={experiment} .*: (\d+) (?:runs|networks)$", README, re.MULTILINE)
        + re.findall(r"(\d+) runs\b", (CHECKOUT / "conf" / "experiment" / f"{experiment}.yaml").read_text())
        for experiment in ("every_photo", "what_helps")
    }
    for experiment, numbers in told.items():
        every_fold = planned([f"experiment={experiment}"])[1]
        made = len(cells([f"experiment={experiment}", *([every_fold] if every_fold else [])]))
        assert numbers, experiment
        assert set(numbers) == {str(made)}, experiment


def test_settings_shown_in_the_text_are_valid() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    settings = [setting for setting in re.findall(r"`([^`]*=[^`]+)`", prose) if not setting.endswith("=")]
    assert len(settings) > 15
    for setting in settings:
        words = shlex.split(setting.replace("model.weights=FILE", "model.weights=null").replace("...", "host/name"))
        strategy = ["freeze=partial"] if "phases.tune" in setting else []
        if not words[0].startswith("data=") or len(words) > 1:
            check([*strategy, *(word for word in words if word != "-m")])


@pytest.mark.parametrize("page", PAGES)
def test_every_file_named_is_there(page: str) -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|yaml|toml|md)|[\w./-]+/)`|\]\((?!http)([^)#]+)\)", PAGES[page])
    made_by_runs = {"mlruns/", "train/", "validation/", "test/"}
    for name in (first or second for first, second in named):
        if name in made_by_runs or name.startswith(("reports/", "searches/")):
            continue
        assert any((CHECKOUT / root / name).exists() for root in ("", "src/leafexp", "conf")), name


def test_hooks_check_what_make_lint_does() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert lint
    (repository,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    commands = [line.removeprefix("$(BIN)/").removesuffix(" .") for line in lint[1].split()]
    hooked = [word for hook in repository["hooks"] for word in hook["entry"].removeprefix("python -m ").split()]
    assert hooked == [word for word in commands if word != "."]
