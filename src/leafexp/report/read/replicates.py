"""Folds: which runs test every photo once, and which replicates lack a fold."""

from collections.abc import Sequence
from dataclasses import dataclass

from leafexp import names
from leafexp.report.read.runs import Run, shared_configurations


@dataclass(frozen=True)
class Incomplete:
    """A replicate whose finished runs don't test every photo: none of them is used.

    Attributes:
        row: its arm, with the settings that part it from others of the name.
        seed: its seed.
        missing: the folds that are not finished.
        folds: how many it takes.
    """

    row: str
    seed: str
    missing: tuple[int, ...]
    folds: int

    def __str__(self) -> str:
        lacking = " and ".join(", ".join(map(str, self.missing)).rsplit(", ", 1))
        return (
            f"{self.row}, seed {self.seed}, lacks fold{'s' if len(self.missing) > 1 else ''} {lacking} of {self.folds}"
        )


def whole_replicates(runs: Sequence[Run]) -> tuple[list[Run], tuple[Incomplete, ...]]:
    """The runs without folds or of replicates that have all of them, in their order, and the replicates that have not.

    Args:
        runs: finished, one of each configuration.
    """
    replicates: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        shared = sorted((key, value) for key, value in run.configuration.items() if key != "data.fold")
        one = () if run.fold else (run.run_id,)
        replicates.setdefault((run.row, run.photos, run.tags.get(names.WEIGHTS_SHA256), *shared, *one), []).append(run)
    left_out: set[str] = set()
    found = []
    for members in replicates.values():
        first, there = members[0], {run.fold for run in members}
        folds = int(first.params["data.folds"]) if first.params.get("data.folds", "").isdecimal() else 0
        if missing := tuple(fold for fold in range(folds) if str(fold) not in there):
            found.append(Incomplete(_called(first, runs), first.params.get("seed", "?"), missing, folds))
            left_out |= {run.run_id for run in members}
    return [run for run in runs if run.run_id not in left_out], tuple(found)


def _called(run: Run, runs: Sequence[Run]) -> str:
    """The run's row and the settings in which others of that row differ from it."""
    alike = [one for one in runs if one.row == run.row]
    settings = shared_configurations(alike)
    own = settings[alike.index(run)]
    varied = [key for key in own if any(other.get(key) != own[key] for other in settings)]
    return ", ".join([run.row, *(f"{key}={own[key]}" for key in varied)])
