"""Who may import whom, as ARCHITECTURE.md says; and nothing is imported that is not declared."""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import CHECKOUT

SOURCE = CHECKOUT / "src" / "leafexp"

# Each room with the rooms that its modules may import, besides their own. A room comes after all that it may import, so
# that no module knows its importers. A module belongs to the room with the longest name that its own begins with.
GROUND = "names wording errors paths notes interrupt arithmetic audit.findings locks stores environment overrides"
ROOMS = {
    **dict.fromkeys(("names", "wording", "errors", "paths", "notes", "interrupt", "arithmetic", "locks"), ""),
    "audit.findings": "wording",  # what an audit found in words: the report says it too
    "stores": "errors",
    "environment": "errors paths stores",
    "overrides": "errors stores",
    "cache": GROUND,
    "data": f"{GROUND} cache",
    "models": f"{GROUND} cache",
    "training": f"{GROUND} cache data models",
    "audit": f"{GROUND} cache data",
    "tracking": f"{GROUND} cache",
    "settings": f"{GROUND} data training",
    "runs.identity": f"{GROUND} cache training settings",
    "runs": f"{GROUND} cache data models training audit tracking settings runs.identity",
    "report.read.runs": GROUND,  # a run as the store holds it
    "report.read": f"{GROUND} report.read.runs",
    "report.evidence.outcomes": "",  # right or wrong, photo by photo: rows hold it, and evidence counts it
    "report.rows": f"{GROUND} report.read report.read.runs report.evidence.outcomes",
    "report.evidence": f"{GROUND} report.read.runs report.evidence.outcomes report.rows",
    "report.say": f"{GROUND} report.read report.read.runs report.rows report.evidence",
    "report.report": f"{GROUND} report.read report.read.runs report.rows report.evidence report.say",
    "report.show": f"{GROUND} report.read report.read.runs report.rows report.evidence report.say report.report",
    "relocate": GROUND,
    "cache.__main__": f"{GROUND} cache",
    "audit.__main__": f"{GROUND} data audit settings runs",
    "report.__main__": f"{GROUND} report.read report.read.runs report.show",
    "search": f"{GROUND} cache training tracking settings runs",
    "verify": f"{GROUND} data settings runs runs.identity tracking report.read report.read.runs",
    "train": f"{GROUND} settings runs tracking report.read report.read.runs report.show",
}
# What no module of these may import.
LIBRARIES = {
    **dict.fromkeys(("cache", "stores", "runs.identity"), "hydra omegaconf mlflow keras tensorflow"),
    **dict.fromkeys(("data", "models", "training"), "hydra omegaconf mlflow"),
    "tracking": "hydra omegaconf",
    "report": "hydra omegaconf keras tensorflow",
}


def has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in SOURCE.rglob("*.py") if file.name != "__init__.py" or has_code(file)}


def room_of(module: str) -> str:
    rooms = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    assert rooms, f"{module} is in no room: add it to one, or a room after all that it imports"
    return max(rooms, key=len)


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules_imported(module: str) -> set[str]:
    found = {name.removeprefix("leafexp.") for name in imports(MODULES[module])}
    return found & MODULES.keys() - {module}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = room_of(module)
    allowed = {room, *ROOMS[room].split()}
    assert {name for name in modules_imported(module) if room_of(name) not in allowed} == set()


def test_each_room_comes_after_those_that_it_may_import() -> None:
    order = list(ROOMS)
    for room, others in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in others.split()), room


def test_no_module_knows_its_importer() -> None:
    list(TopologicalSorter({module: modules_imported(module) for module in MODULES}).static_order())


@pytest.mark.parametrize("place", LIBRARIES)
def test_libraries_stay_in_their_rooms(place: str) -> None:
    files = [file for module, file in MODULES.items() if module == place or module.startswith(f"{place}.")]
    assert files
    for file in files:
        assert not {name.partition(".")[0] for name in imports(file)} & set(LIBRARIES[place].split()), file


def test_every_import_is_declared() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["search"]]
    packages = {re.split(r"[^\w-]", line)[0] for line in declared}
    modules = {"hydra-core": "hydra", "scikit-learn": "sklearn", "pillow": "PIL", "pyyaml": "yaml"}
    known = {modules.get(package, package) for package in packages} | {"leafexp"} | sys.stdlib_module_names
    used = {name.split(".")[0] for file in SOURCE.rglob("*.py") for name in imports(file)}
    assert used - known == set()
    assert known - used - sys.stdlib_module_names == {"hydra-joblib-launcher"}  # Hydra finds it by itself


def test_every_dependency_is_pinned_in_its_range() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE):
        pinned.setdefault(canonicalize_name(name), set()).add(version)
    for line in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        wanted = Requirement(line)
        assert pinned[canonicalize_name(wanted.name)], line
        assert all(wanted.specifier.contains(version) for version in pinned[canonicalize_name(wanted.name)]), line
    assert "://" not in (CHECKOUT / "constraints.txt").read_text(), "no address of an index"
