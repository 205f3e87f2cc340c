"""Runs as the tracking store holds them, with their curves and predictions."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.audit import findings
from leafexp.errors import UserError
from leafexp.overrides import scrubbed_command
from leafexp.report.read.artifacts import parse_predictions, read_texts
from leafexp.report.read.history import read_curves
from leafexp.report.read.replicates import Incomplete, whole_replicates
from leafexp.report.read.runs import Run, shared_configurations
from leafexp.report.read.settings import missing_settings
from leafexp.report.read.store import ask, no_garbage_collection, open_client
from leafexp.stores import scrubbed, shown
from leafexp.wording import counted, one_line

# The tags by which a run is known as leafexp's: every version has written them.
MARKS = (names.ROW, names.MODEL, names.FREEZE)
_MOST = 1e15  # a metric over it is MLflow's infinity, or nonsense


@dataclass(frozen=True)
class Selection:
    """The runs to report: `finished` with curves and predictions, `unfinished` without, and what was left out.

    `audit` is what the latest audit of the same photos and split found, as `data.audit.audit` returns it; of folds,
    that of the one with most on two sides. Runs of replicates that are `incomplete` are not among the finished.
    """

    experiment: str
    sweep: str
    other_sweeps: int
    finished: list[Run]
    unfinished: list[Run]
    notes: list[str]
    audit: dict[str, Any] | None = None
    incomplete: tuple[Incomplete, ...] = ()


@no_garbage_collection()
def collect(tracking_uri: str, experiment: str, sweep: str) -> Selection:
    """The finished runs of one sweep (its name, `latest`, or `all`) with their curves and predictions.

    Of several finished runs with the same configuration, seed and data the newest is kept.

    Raises:
        UserError: no store, no such experiment or sweep, or no finished run in it.
    """
    client = open_client(tracking_uri)
    every = read_runs(client, experiment, tracking_uri)
    found = [run for run in every if names.TRIAL not in run.tags]
    trials = len(every) - len(found)
    ours = [run for run in found if all(run.tags.get(mark) for mark in MARKS)]
    runs = [
        replace(run, params={**run.params, **assumed}, assumed=assumed)
        for run, assumed in zip(ours, missing_settings([run.params for run in ours]), strict=True)
    ]
    foreign = len(found) - len(runs)
    if not runs:
        there = [counted(trials, "trial") + " of searches"] * bool(trials)
        there += [counted(foreign, "run") + " of something else"] * bool(foreign)
        but = f" (but {' and '.join(there)})" if there else ""
        raise UserError(
            f"Experiment {experiment!r} holds no runs of leafexp yet{but}.\n"
            "Make some: python -m leafexp.train -m model=cnn"
        )
    chosen, shown, notes = choose_sweep(runs, experiment, sweep)
    newest, repeated = newest_of_each(run for run in chosen if run.reported)
    if not newest:
        raise UserError(_nothing_finished(f"Sweep {shown!r}", chosen))
    done = [run.configuration for run in newest]
    unfinished = [run for run in chosen if not run.reported and run.configuration not in done]
    finished, incomplete = whole_replicates(newest)
    if not finished:
        raise UserError(f"No replicate of folds is complete yet: {'; '.join(map(str, incomplete[:3]))}.")
    others = len({name for run in runs for name in run.sweeps} - {name for run in chosen for name in run.sweeps})
    tried = configurations_tried(runs)
    finished = [replace(run, configurations_tried=tried[_arm(run)]) for run in finished]
    finished = _with_curves_and_predictions(client, finished)
    audit, unread = _audit(runs, finished)
    notes += [
        *_left_out(foreign, repeated, trials),
        *_not_shown_elsewhere(chosen, newest),
        *_remarks(finished),
        *(["The audit of these photos can't be read, so what it found is not said."] if unread else []),
    ]
    return Selection(experiment, shown, others, finished, unfinished, notes, audit, incomplete)


def _left_out(foreign: int, repeated: int, trials: int) -> list[str]:
    notes = []
    if trials:
        notes.append(f"{counted(trials, 'trial')} of searches left out: trials choose settings and are never tested.")
    if foreign:
        verb = "is" if foreign == 1 else "are"
        notes.append(f"{counted(foreign, 'run')} of something else in this experiment {verb} left out.")
    if repeated:
        verb = "is" if repeated == 1 else "are"
        notes.append(
            f"{counted(repeated, 'older finished run')} of the same configuration, seed and data {verb} left out."
        )
    return notes


def _not_shown_elsewhere(chosen: Iterable[Run], newest: Iterable[Run]) -> list[str]:
    """Second test sets of older runs alone, which are left out with these."""
    shown_photos = {run.tags.get(names.EXTERNAL_HASH) for run in newest}
    lost = {run.tags.get(names.EXTERNAL, "?") for run in chosen if run.reported and names.EXTERNAL_HASH in run.tags
            and run.tags[names.EXTERNAL_HASH] not in shown_photos}  # fmt: skip
    return [f"Only older runs were tested on these photos from elsewhere: {', '.join(sorted(lost))}."] if lost else []


def _remarks(runs: Sequence[Run]) -> list[str]:
    """What is special about how the runs were made or can be read."""
    notes = []
    if resumed := sum(names.INTERRUPTIONS in run.tags for run in runs):
        was, its = ("was", "its") if resumed == 1 else ("were", "their")
        notes.append(
            f"{counted(resumed, 'run')} {was} cut off and taken up again: {its} metrics are those of a run that never "
            f"stopped, {its} seconds include starting anew."
        )
    assumed = Counter((key, value) for run in runs for key, value in run.assumed.items())
    for (key, value), times in sorted(assumed.items()):
        verb = "does" if times == 1 else "do"
        notes.append(
            f"{counted(times, 'run')} {verb} not say {key}, which others of this experiment do: taken as {value}."
        )
    if unread := sum(run.predictions is None for run in runs):
        notes.append(
            f"The predictions of {counted(unread, 'run')} can't be read, so no test on the same photos can be made. "
            "If the store's folder was moved: python -m leafexp.relocate"
        )
    return notes


def _audit(runs: Sequence[Run], finished: Sequence[Run]) -> tuple[dict[str, Any] | None, bool]:
    """What the latest audit of the first run's photos and split found, and whether there is one that can't be read."""

    def hashes(run: Run) -> tuple[str, str]:
        return run.tags.get(names.DATA_HASH, ""), run.tags.get(names.SPLIT_HASH, "")

    one = finished[0]
    alike = [run for run in finished if run.photos == one.photos and run.fold] if one.fold else [one]
    wanted = {hashes(run) for run in alike if all(hashes(run))}
    audited = [run for run in runs if names.AUDIT_BORDER_ACCURACY in run.metrics and hashes(run) in wanted]
    if not audited:
        return None, False
    latest = {hashes(run): run for run in sorted(audited, key=lambda run: run.started)}
    leaks = (names.AUDIT_ACROSS_SPLITS, names.AUDIT_GROUPS_ACROSS_SPLITS)
    worst = max(latest.values(), key=lambda run: [run.metrics.get(leak, 0.0) for leak in leaks])
    text = read_artifact(worst, names.AUDIT_FILE)
    try:
        found: dict[str, Any] = json.loads(text or "")
        # Another version's may lack what these words need.
        findings.facts(found), findings.remarks(found)
        keys = [f"{side}{what}" for side in ("", "other_") for what in ("path", "label", "split")]
        pairs = [pair for pair in found.get("pairs", []) if "kind" in pair and all(key in pair for key in keys)]
        return {**found, "pairs": pairs}, False
    except (ValueError, LookupError, TypeError, AttributeError):
        return None, True


def configurations_tried(runs: Iterable[Run]) -> Counter[tuple[str, ...]]:
    """How many configurations of each arm (row, weights, photos) were trained to the end, seeds and folds aside."""
    runs = [run for run in runs if run.reported]
    shared = shared_configurations(runs)
    tried = {(_arm(run), tuple(sorted(one.items()))) for run, one in zip(runs, shared, strict=True)}
    return Counter(arm for arm, _ in tried)


def _arm(run: Run) -> tuple[str, ...]:
    return run.row, run.tags.get(names.PRETRAINED, ""), run.photos


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
            name=one_line(run.info.run_name or run.info.run_id),
            status=run.info.status,
            started=run.info.start_time or 0,
            tags={key: _shown_tag(key, value, tracking_uri) for key, value in run.data.tags.items()},
            params={key: one_line(value) for key, value in run.data.params.items() if key != "tracking.uri"},
            metrics=_possible({names.without_section(key): value for key, value in run.data.metrics.items()}),
            stored_metrics=tuple(run.data.metrics),
            artifact_uri=run.info.artifact_uri,
            experiment_id=run.info.experiment_id or "",
            experiment=experiment,
            tracking_uri=client.tracking_uri,
        )
        for run in found
    ]


def _shown_tag(key: str, value: str, tracking_uri: str) -> str:
    """A tag as it may be shown: commands and reasons of earlier versions hold addresses with passwords."""
    if key == names.COMMAND:
        return scrubbed_command(value)
    return scrubbed(value, tracking_uri) if key == names.ERROR else one_line(value)


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
    if not any(run.reported for run in runs):
        raise UserError(_nothing_finished(f"Experiment {experiment!r}", runs))
    if sweep == "all":
        return runs, "all", []
    notes: list[str] = []
    for name, members in by_sweep.items():
        if any(run.reported for run in members):
            return members, name, notes
        notes.append(f"The newer sweep {name!r} has no finished run: {_statuses(members)}.")
    raise AssertionError("a finished run belongs to a sweep")


def newest_of_each(runs: Iterable[Run]) -> tuple[list[Run], int]:
    """The newest run per configuration, seed and data, in order of their start, and how many older ones there were."""
    newest: dict[tuple[Any, ...], Run] = {}
    count = 0
    for run in sorted(runs, key=lambda run: run.started):
        split = [] if run.fold else [names.SPLIT_HASH]
        what = tuple(run.tags.get(tag) for tag in (names.SEED, *split, names.WEIGHTS_SHA256))
        newest[(run.row, run.photos, *what, *sorted(run.configuration.items()))] = run
        count += 1
    return sorted(newest.values(), key=lambda run: run.started), count - len(newest)


def read_artifact(run: Run, name: str) -> str | None:
    """A text file of the run, such as audit.json, at any time after `collect`; None where it can't be read."""
    return read_texts([run.artifact_uri], name, run.tracking_uri)[0] if run.artifact_uri else None


def _with_curves_and_predictions(client: Any, runs: list[Run]) -> list[Run]:
    metrics = {run.run_id: run.stored_metrics for run in runs}
    curves = ask("Can't read the tracking store", read_curves, client=client, runs=metrics)
    own = _predictions(runs, names.PREDICTIONS_FILE, names.TEST_IMAGES)
    elsewhere = _predictions(
        [run for run in runs if names.EXTERNAL_HASH in run.tags], names.EXTERNAL_PREDICTIONS_FILE, names.EXTERNAL_IMAGES
    )
    return [
        replace(
            run,
            curves=_possible_epochs(curves[run.run_id]),
            predictions=own.get(run.run_id),
            external=elsewhere.get(run.run_id),
        )
        for run in runs
    ]


def _predictions(runs: Sequence[Run], file: str, images: str) -> dict[str, pd.DataFrame]:
    """What each run said of all photos of one kind, by its id; runs whose file can't be read, or lacks some, lack."""
    if not runs:
        return {}
    tables = parse_predictions(read_texts([run.artifact_uri for run in runs], file, runs[0].tracking_uri))
    return {
        run.run_id: table
        for run, table in zip(runs, tables, strict=True)
        if table is not None and len(table) == run.metrics.get(images, len(table))
    }


def _possible_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves without values that can't be: none is below 0, an accuracy is a share in [0, 1]."""
    most = [1 if name in (names.ACCURACY, names.VAL_ACCURACY) else _MOST for name in curves]
    values = curves.to_numpy(float)
    possible = np.where((values >= 0) & (values <= most), values, math.nan)
    return pd.DataFrame(possible, index=curves.index, columns=curves.columns)


def _possible(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that can be: none is below 0. Those of epochs and the test accuracy are judged later."""
    judged_later = (*names.EPOCH_METRICS, names.TEST_ACCURACY)
    return {key: value for key, value in metrics.items() if key in judged_later or 0 <= value < _MOST}


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
    counts = Counter(
        "without a usable test accuracy" if run.status == "FINISHED" else run.status.lower() for run in runs
    )
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _nothing_finished(where: str, runs: list[Run]) -> str:
    errors = Counter(why_not(run) for run in runs if run.status == "FINISHED" or run.tags.get(names.ERROR, "").strip())
    reasons = "; ".join(f"{text} ({counted(count, 'run')})" for text, count in errors.most_common(3))
    return f"{where} has no finished run: {_statuses(runs)}." + (f"\nReason: {reasons}" if reasons else "")


def why_not(run: Run) -> str:
    """In a line, why a run is not in the table."""
    if run.status == "FINISHED":
        return run.fault
    lines = run.tags.get(names.ERROR, "").strip().splitlines() or ["no reason logged"]
    return "still running, or its process is gone" if run.status == "RUNNING" else one_line(lines[0])[:200]
