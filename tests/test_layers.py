"""Who may import whom, as ARCHITECTURE.md says; and nothing is imported that is not declared."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import CHECKOUT

SOURCE = CHECKOUT / "src" / "leafexp"
FORBIDDEN = {
    "names.py": {"leafexp"},
    "wording.py": {"leafexp"},
    "errors.py": {"leafexp"},
    "paths.py": {"leafexp"},
    "audit/findings.py": {"leafexp.data", "leafexp.report", "leafexp.tracking"},
    "interrupt.py": {"leafexp"},
    "stores.py": {"hydra", "omegaconf", "mlflow", "keras", "tensorflow", "leafexp.settings", "leafexp.tracking"},
    "runs/identity.py": {"hydra", "omegaconf", "mlflow", "keras", "tensorflow", "leafexp.tracking"},
    "arithmetic.py": {"leafexp"},
    "cache/arrays.py": {"hydra", "omegaconf", "mlflow", "keras", "tensorflow", "leafexp.data", "leafexp.training"},
    "cache/room.py": {"hydra", "omegaconf", "mlflow", "keras", "tensorflow", "leafexp.data", "leafexp.training"},
    "data": {"hydra", "omegaconf", "mlflow", *(f"leafexp.{room}" for room in ("tracking", "report", "models"))},
    "models": {"hydra", "omegaconf", "mlflow", *(f"leafexp.{room}" for room in ("tracking", "report", "data"))},
    "training": {"hydra", "omegaconf", "mlflow", "leafexp.settings", "leafexp.tracking", "leafexp.report"},
    "tracking": {"hydra", "omegaconf", "leafexp.settings", "leafexp.report", "leafexp.data", "leafexp.training"},
    "search": {"keras", "tensorflow", "mlflow", "leafexp.data", "leafexp.models", "leafexp.report"},
    "report": {
        *("hydra", "omegaconf", "keras", "tensorflow", "leafexp.settings", "leafexp.tracking"),
        *("leafexp.data", "leafexp.models", "leafexp.training"),
    },
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layers_import_only_what_lies_below(layer: str) -> None:
    path = SOURCE / layer
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    assert files
    for file in files:
        for name in imports(file):
            crossed = {other for other in FORBIDDEN[layer] if name == other or name.startswith(f"{other}.")}
            assert not crossed, f"{file.name} imports {name}"


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
