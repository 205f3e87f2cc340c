"""Runs as the tracking store holds them, with their curves and predictions."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import pandas as pd

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.artifacts import parse_predictions, read_texts
from leafexp.report.history import read_curves
from leafexp.report.store import ask, no_garbage_collection, open_client
from leafexp.stores import shown


@dataclass(frozen=True, eq=False)
class Run:
    """One run. `curves` has a row per epoch (index from 1) and a column per epoch metric; `started` is in ms."""

    run_id: str
    name: str
    status: str
    started: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame | None = None  # as `parse_predictions` gives it; None where it can't be read
    artifact_uri: str = ""
    experiment_id: str = ""
    tracking_uri: str = field(default="", repr=False)  # it may hold a password
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
        return float(self.tags.get(names.ASKED, self.started / 1000))

    @property
    def configuration(self) -> dict[str, str]:
        """The parameters that decide what is trained."""
        return {key: value for key, value in self.params.items() if not key.startswith(names.NOT_CONFIGURATION)}


@dataclass(frozen=True)
class Selection:
    """The runs to report: `finished` with curves and predictions, `unfinished` without, and what was left out.

    `audit` is what the latest audit of the same photos and split found, as `data.audit.audit` returns it.
    """

    experiment: str
    sweep: str
    other_sweeps: int
    finished: list[Run]
    unfinished: list[Run]
    notes: list[str]
    audit: dict[str, Any] | None = None


@no_garbage_collection()
def collect(tracking_uri: str, experiment: str, sweep: str) -> Selection:
    """The finished runs of one sweep (its name, `latest`, or `all`) with their curves and predictions.

    Of several finished runs with the same configuration, seed and data the newest is kept.

    Raises:
        UserError: no store, no such experiment or sweep, or no finished run in it.
    """
    client = open_client(tracking_uri)
    runs = read_runs(client, experiment, tracking_uri)
    if not runs:
        raise UserError(
            f"Experiment {experiment!r} holds no runs yet.\nMake some: python -m leafexp.train -m model=cnn"
        )
    chosen, shown, notes = choose_sweep(runs, experiment, sweep)
    finished, repeated = newest_of_each(run for run in chosen if run.status == "FINISHED")
    if not finished:
        raise UserError(_nothing_finished(f"Sweep {shown!r}", chosen))
    if repeated:
        notes.append(f"{repeated} older finished run(s) of the same configuration, seed and data are left out.")
    done = [run.configuration for run in finished]
    unfinished = [run for run in chosen if run.status != "FINISHED" and run.configuration not in done]
    others = len({name for run in runs for name in run.sweeps} - {name for run in chosen for name in run.sweeps})
    if resumed := sum(names.INTERRUPTIONS in run.tags for run in finished):
        notes.append(
            f"{resumed} run(s) were cut off and taken up again: their metrics are those of a run that never stopped, "
            "their seconds include starting anew."
        )
    tried = configurations_tried(runs)
    finished = [replace(run, configurations_tried=tried[_arm(run)]) for run in finished]
    finished = _with_curves_and_predictions(client, finished)
    if unread := sum(run.predictions is None for run in finished):
        notes.append(
            f"The predictions of {unread} run(s) can't be read, so no test on the same photos can be made. "
            "If the store's folder was moved: python -m leafexp.relocate"
        )
    return Selection(experiment, shown, others, finished, unfinished, notes, _audit(runs, finished[0]))


def _audit(runs: Sequence[Run], one: Run) -> dict[str, Any] | None:
    """What the latest audit of the photos and the split of `one` found; None where there is none to be read."""
    hashes = (names.DATA_HASH, names.SPLIT_HASH)
    same = [run for run in runs if all(run.tags.get(tag) == one.tags.get(tag) for tag in hashes)]
    audited = [run for run in same if names.AUDIT_BORDER_ACCURACY in run.metrics]
    text = read_artifact(max(audited, key=lambda run: run.started), names.AUDIT_FILE) if audited else None
    try:
        found: dict[str, Any] = json.loads(text or "")
    except ValueError:
        return None
    return found


def configurations_tried(runs: Iterable[Run]) -> Counter[tuple[str, ...]]:
    """How many configurations of each arm (row, weights, photos) were trained to the end, seeds not counted."""
    tried = {
        (_arm(run), tuple(sorted((key, value) for key, value in run.configuration.items() if key != "seed")))
        for run in runs
        if run.status == "FINISHED"
    }
    return Counter(arm for arm, _ in tried)


def _arm(run: Run) -> tuple[str, ...]:
    return run.row, run.tags.get(names.PRETRAINED, ""), run.tags.get(names.DATA_HASH, "")


def read_runs(client: Any, experiment: str, tracking_uri: str = "") -> list[Run]:
    """Every run of the experiment that was not deleted, newest first, without curves.

    Raises:
        UserError: there is no such experiment, or the store can't be read.
    """
    known = {item.name: item.experiment_id for item in _pages(client.search_experiments)}
    if experiment not in known:
        raise UserError(f"No experiment {experiment!r} in {shown(tracking_uri)}.{_suggest(experiment, known)}")
    found = _pages(client.search_runs, experiment_ids=[known[experiment]], order_by=["attributes.start_time DESC"])
    return [
        Run(
            run_id=run.info.run_id,
            name=run.info.run_name or run.info.run_id,
            status=run.info.status,
            started=run.info.start_time or 0,
            tags=dict(run.data.tags),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            artifact_uri=run.info.artifact_uri,
            experiment_id=run.info.experiment_id or "",
            tracking_uri=client.tracking_uri,
        )
        for run in found
    ]


def choose_sweep(runs: list[Run], experiment: str, sweep: str) -> tuple[list[Run], str, list[str]]:
    """The runs of the wanted sweep, its name, and notes on newer sweeps that were passed over; `runs` newest first.

    Raises:
        UserError: no such sweep, or for `latest` and `all` no finished run at all.
    """
    by_sweep: dict[str, list[Run]] = {}
    # The latest sweep first; within a sweep the newest run first.
    for run in sorted(runs, key=lambda run: run.asked, reverse=True):
        for name in reversed(run.sweeps):
            by_sweep.setdefault(name, [])
    for run in runs:
        for name in run.sweeps:
            by_sweep[name].append(run)
    if sweep not in ("latest", "all"):
        if sweep not in by_sweep:
            raise UserError(f"No sweep {sweep!r} in experiment {experiment!r}.{_suggest(sweep, by_sweep)}")
        return by_sweep[sweep], sweep, []
    if all(run.status != "FINISHED" for run in runs):
        raise UserError(_nothing_finished(f"Experiment {experiment!r}", runs))
    if sweep == "all":
        return runs, "all", []
    notes: list[str] = []
    for name, members in by_sweep.items():
        if any(run.status == "FINISHED" for run in members):
            return members, name, notes
        notes.append(f"The newer sweep {name!r} has no finished run: {_statuses(members)}.")
    raise AssertionError("a finished run belongs to a sweep")


def newest_of_each(runs: Iterable[Run]) -> tuple[list[Run], int]:
    """The newest run per configuration, seed and data, in order of their start, and how many older ones there were."""
    newest: dict[tuple[Any, ...], Run] = {}
    count = 0
    for run in sorted(runs, key=lambda run: run.started):
        what = tuple(run.tags.get(tag) for tag in (names.SEED, names.DATA_HASH, names.SPLIT_HASH, names.WEIGHTS_SHA256))
        newest[(run.row, *what, *sorted(run.configuration.items()))] = run
        count += 1
    return sorted(newest.values(), key=lambda run: run.started), count - len(newest)


def read_artifact(run: Run, name: str) -> str | None:
    """A text file of the run, such as audit.json, at any time after `collect`; None where it can't be read."""
    return read_texts([run.artifact_uri], name, run.tracking_uri)[0] if run.artifact_uri else None


def _with_curves_and_predictions(client: Any, runs: list[Run]) -> list[Run]:
    metrics = {run.run_id: run.metrics for run in runs}
    curves = ask("Can't read the tracking store", read_curves, client=client, runs=metrics)
    texts = read_texts([run.artifact_uri for run in runs], names.PREDICTIONS_FILE, client.tracking_uri)
    return [
        replace(run, curves=curves[run.run_id], predictions=parse_predictions(text))
        for run, text in zip(runs, texts, strict=True)
    ]


def _pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = ask("Can't read the tracking store", search, max_results=1000, page_token=token, **arguments)
        found += page
        token = page.token
        if not token:
            return found


def _suggest(name: str, options: Iterable[str]) -> str:
    options = list(options)
    near = get_close_matches(name, options, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = f" and {len(options) - 10} more" if len(options) > 10 else ""
    return f"{hint}\nThere are: {', '.join(options[:10])}{more}."


def _statuses(runs: list[Run]) -> str:
    return ", ".join(f"{count} {status.lower()}" for status, count in Counter(run.status for run in runs).items())


def _nothing_finished(where: str, runs: list[Run]) -> str:
    errors = Counter(run.tags[names.ERROR].splitlines()[0] for run in runs if run.tags.get(names.ERROR, "").strip())
    reasons = "; ".join(f"{text[:200]} ({count} run(s))" for text, count in errors.most_common(3))
    return f"{where} has no finished run: {_statuses(runs)}." + (f"\nReason: {reasons}" if reasons else "")
