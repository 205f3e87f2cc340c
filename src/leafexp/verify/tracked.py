"""A run as it is tracked: found by its id, and read whole."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.read.artifacts import parse_phases, parse_predictions, read_texts
from leafexp.report.read.history import read_curves
from leafexp.report.read.store import ask

_MOST_EXPERIMENTS = 10_000
_FEWEST_LETTERS = 4


@dataclass(frozen=True, eq=False)
class Tracked:
    """A finished run.

    Attributes:
        run_id: its id in MLflow.
        tags: all its tags.
        metrics: what it has one value of, by name; without times and memory.
        epochs: a row an epoch (index from 1), a column an epoch metric; without times.
        predictions: of the test photos, a row each; None where the file can't be read.
        artifacts: the address of its files.
        elsewhere: the predictions of a second test set, likewise; None also where there is none.
    """

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    epochs: pd.DataFrame
    predictions: pd.DataFrame | None
    artifacts: str
    elsewhere: pd.DataFrame | None = None

    @property
    def label(self) -> str:
        """How it is called on the terminal."""
        return f"{self.run_id[:8]} ({self.tags.get(names.ROW, '')}, seed {self.tags.get(names.SEED, '?')})"


def find(client: Any, run_id: str) -> Tracked:
    """The finished run with this id, or with the only id that begins so.

    Raises:
        UserError: there is none or there are several, it is not leafexp's, or it is not finished.
    """
    if not re.fullmatch(rf"[0-9A-Za-z]{{{_FEWEST_LETTERS},}}", run_id):
        raise UserError(
            f"The id of a run, or its first {_FEWEST_LETTERS} letters at least, is expected; got {run_id!r}."
        )
    asked = "Can't read the tracking store"
    experiments = ask(asked, client.search_experiments, max_results=_MOST_EXPERIMENTS)
    begins_so = f"attributes.run_id LIKE '{run_id}%'"
    ids = [experiment.experiment_id for experiment in experiments]
    found = ask(asked, client.search_runs, experiment_ids=ids, filter_string=begins_so, max_results=3) if ids else []
    if not found:
        raise UserError(
            f"There is no run {run_id} in the store. `mlflow ui` and the report's page show the ids of runs."
        )
    if len(found) > 1:
        raise UserError(f"{run_id} begins the ids of several runs, such as {found[0].info.run_id}. Give more of it.")
    (run,) = found
    tags = run.data.tags
    if names.MODEL not in tags or names.FREEZE not in tags:
        raise UserError(f"Run {run.info.run_id} was not made by leafexp.train.")
    if trial := tags.get(names.TRIAL):
        raise UserError(
            f"Run {run.info.run_id} is a trial of a search ({trial}), and those are never tested.\n"
            "Verify a run that was trained with the chosen settings."
        )
    if run.info.status != "FINISHED":
        raise UserError(
            f"Run {run.info.run_id} is not finished ({run.info.status.lower()}), so there is nothing to compare with.\n"
            f"To finish it: {tags.get(names.COMMAND, 'give its command again')}"
        )
    metrics = {names.without_section(name): value for name, value in run.data.metrics.items()}
    curves = ask(asked, read_curves, client=client, runs={run.info.run_id: run.data.metrics})[run.info.run_id]
    predictions, elsewhere = (
        parse_predictions(read_texts([run.info.artifact_uri], name, client.tracking_uri))[0]
        for name in (names.PREDICTIONS_FILE, names.EXTERNAL_PREDICTIONS_FILE)
    )
    return Tracked(
        run.info.run_id,
        {**tags, names.ROW: tags.get(names.ROW, run.info.run_name or "")},
        {name: value for name, value in metrics.items() if name not in names.EPOCH_METRICS and not names.takes(name)},
        curves[[name for name in curves if not names.takes(name)]],
        predictions,
        run.info.artifact_uri,
        elsewhere,
    )


def settings(run: Tracked, tracking_uri: str) -> dict[str, Any]:
    """The configuration that the run was made with, without where it is kept.

    Raises:
        UserError: it can't be read.
    """
    (text,) = read_texts([run.artifacts], names.CONFIG_FILE, tracking_uri)
    try:
        found = yaml.safe_load(text or "")
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise UserError(
            f"{names.CONFIG_FILE} of run {run.run_id} can't be read. "
            "If the store's folder was moved: python -m leafexp.relocate"
        )
    (listed,) = read_texts([run.artifacts], names.PHASES_FILE, tracking_uri)
    kept = {key: value for key, value in found.items() if key != "tracking"}
    return {**kept, "freeze": _in_order(kept["freeze"], parse_phases(listed))} if "freeze" in kept else kept


def _in_order(freeze: Any, trained: pd.DataFrame | None) -> Any:
    """A strategy with its phases in the order of training: earlier versions tracked them sorted by name."""
    if trained is None or not isinstance(freeze, dict) or not isinstance(freeze.get("phases"), dict):
        return freeze
    phases, order = freeze["phases"], list(trained["phase"])
    if [name for name in phases if name in order] == order and [*phases][-1] == order[-1]:
        return freeze
    # Those that were left out came before the last.
    ordered = [*(name for name in phases if name not in order), *(name for name in order if name in phases)]
    return {**freeze, "phases": {name: phases[name] for name in ordered}}
