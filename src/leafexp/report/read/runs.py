"""A run as the tracking store holds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from leafexp import names


@dataclass(frozen=True, eq=False)
class Run:
    """One run. `curves` has a row per epoch (index from 1) and a column per epoch metric; `started` is in ms.

    `assumed` are the parameters that the run did not log, with the values that they count as.
    """

    run_id: str
    name: str
    status: str
    started: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame | None = None  # as `parse_predictions` gives it; None where it can't be read
    external: pd.DataFrame | None = None  # the same on the second test set
    artifact_uri: str = ""
    experiment_id: str = ""
    experiment: str = ""
    assumed: dict[str, str] = field(default_factory=dict)
    tracking_uri: str = field(default="", repr=False)  # it may hold a password
    stored_metrics: tuple[str, ...] = field(default=(), repr=False)  # by their names in the store
    configurations_tried: int = 1  # of its model and freeze strategy on these photos, in the whole experiment

    @property
    def row(self) -> str:
        """The row's name in the comparison."""
        return self.tags.get(names.ROW, self.name)

    @property
    def sweeps(self) -> list[str]:
        """The commands that asked for the run, the latest last; without the tag a sweep of its own, named by its id."""
        return names.sweeps_of(self.tags.get(names.SWEEP, "")) or [self.run_id]

    @property
    def asked(self) -> float:
        """When a command last asked for the run, in seconds since 1970."""
        asked = number(self.tags.get(names.ASKED, ""))
        return self.started / 1000 if math.isnan(asked) else asked

    @property
    def photos(self) -> str:
        """Of which photos it was trained and tested, as a hash; where it was not logged, of none but its own."""
        return self.tags.get(names.DATA_HASH) or f"unknown in {self.run_id[:8]}"

    @property
    def fault(self) -> str:
        """Why its test accuracy can't be used; empty where it can."""
        accuracy = self.metrics.get(names.TEST_ACCURACY)
        if accuracy is None:
            return "it logged no test accuracy"
        return "" if 0 <= accuracy <= 1 else f"its test accuracy is {accuracy:.6g}, not a share in [0, 1]"

    @property
    def reported(self) -> bool:
        """Whether it is in the table: finished, with a test accuracy."""
        return self.status == "FINISHED" and not self.fault

    @property
    def configuration(self) -> dict[str, str]:
        """The parameters that decide what is trained."""
        return {key: value for key, value in self.params.items() if not key.startswith(names.NOT_CONFIGURATION)}

    @property
    def fold(self) -> str:
        """The fold that it tests, by its number; empty where all runs have one split."""
        fold = self.params.get("data.fold", "None")
        return "" if fold == "None" else fold


def shared_configurations(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Of each run its configuration without what parts the networks of a row: seed, fold, partition that follows."""
    drawn = [(run.params.get("seed"), run.params.get("data.split_seed")) if run.fold else None for run in runs]
    known = [pair for pair in drawn if pair]
    # A partition that was set may be called like one of its seeds.
    was_set = {partition for seed, partition in known if seed != partition}
    follow = not was_set or bool({partition for seed, partition in known if seed == partition} - was_set)
    found = []
    for run, pair in zip(runs, drawn, strict=True):
        follows = follow and pair is not None and pair[0] == pair[1]
        own = {"seed", "data.fold", *(["data.split_seed"] if follows else [])}
        found.append({key: value for key, value in run.configuration.items() if key not in own})
    return found


def number(text: str) -> float:
    """The number that a parameter or tag holds; NaN where it holds none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
