"""The cells of a sweep and what became of each: told by the process that ran it, summed up by the one that began it."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from leafexp.paths import ROOT

TRAINED, SKIPPED, FAILED, INTERRUPTED = "trained", "skipped", "failed", "interrupted"
_MAX_REASON = 90
_PLAN = "plan.json"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell.

    Attributes:
        cell: its overrides.
        status: trained, skipped (finished before), failed or interrupted.
        reason: why it failed.
        log: the file with the traceback.
    """

    cell: str
    status: str
    reason: str = ""
    log: str = ""


def begin(sweep: str) -> None:
    """Forget what an earlier command with the same sweep's name left; other files are not touched."""
    for file in _folder(sweep).glob("*.*"):
        if re.fullmatch(rf"\d+\.(json|log)|{_PLAN}", file.name):
            file.unlink(missing_ok=True)


def plan(sweep: str, cells: list[list[str]]) -> None:
    """Write down the overrides of each cell that is to be run."""
    _folder(sweep).mkdir(parents=True, exist_ok=True)
    (_folder(sweep) / _PLAN).write_text(json.dumps(cells), encoding="utf-8")


def planned(sweep: str) -> list[list[str]]:
    """The overrides of each cell that is to be run; empty where nobody knew them before."""
    file = _folder(sweep) / _PLAN
    cells: list[list[str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return cells


def note(sweep: str, number: int, outcome: Outcome, details: str = "") -> None:
    """Write one cell's outcome, and `details` of its failure into a log."""
    folder = _folder(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    if details:
        log = folder / f"{number}.log"
        log.write_text(details, encoding="utf-8")
        outcome = Outcome(**{**asdict(outcome), "log": str(log)})
    (folder / f"{number}.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")


def read(sweep: str) -> list[Outcome]:
    """The outcomes of a sweep's cells, in their order."""
    files = sorted(
        (file for file in _folder(sweep).glob("*.json") if file.stem.isdigit()), key=lambda file: int(file.stem)
    )
    return [Outcome(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def count(outcomes: list[Outcome]) -> str:
    """How many cells ended how, in words."""
    words = {
        TRAINED: "trained",
        SKIPPED: "finished before and skipped",
        INTERRUPTED: "interrupted",
        FAILED: "failed",
    }
    numbers = {status: sum(outcome.status == status for outcome in outcomes) for status in words}
    return ", ".join(f"{number} {words[status]}" for status, number in numbers.items() if number)


def failures(outcomes: list[Outcome]) -> str:
    """A table of the cells that failed, each by what it has not in common with all others; empty without any."""
    from tabulate import tabulate

    common = set.intersection(*(set(outcome.cell.split()) for outcome in outcomes)) if len(outcomes) > 1 else set()
    rows = []
    for outcome in outcomes:
        if outcome.status == FAILED:
            first = outcome.reason.partition("\n")[0]
            cell = " ".join(word for word in outcome.cell.split() if word not in common) or outcome.cell
            rows.append((cell, first if len(first) <= _MAX_REASON else f"{first[: _MAX_REASON - 1]}…", outcome.log))
    return tabulate(rows, ("failed cell", "reason", "log"), disable_numparse=True) if rows else ""


def _folder(sweep: str) -> Path:
    return ROOT / "outputs" / sweep / "cells"
