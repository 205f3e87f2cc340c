"""A tracked run trained again, into a store of its own."""

import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from leafexp import names
from leafexp.data.dataset import prepare
from leafexp.data.external import prepare as prepare_external
from leafexp.errors import UserError
from leafexp.paths import ROOT, cache_folder
from leafexp.report.read.artifacts import read_texts
from leafexp.report.read.store import open_client
from leafexp.runs import cell, checkpoints
from leafexp.runs.identity import weights_sha256
from leafexp.runs.inputs import read_catalog, read_external
from leafexp.settings.compose import recompose
from leafexp.settings.schema import Config, TrackingConfig
from leafexp.tracking.run import changes
from leafexp.verify.tracked import Tracked, find


def configuration(run: Tracked, settings: Mapping[str, Any], data_path: str | None) -> tuple[Config, dict[str, Any]]:
    """The configuration of a run as this version composes it, and what the run's version had no key for.

    Args:
        run: the run.
        settings: what it was made with.
        data_path: where its photos lie now; None for where they lay.

    Raises:
        UserError: this version can't compose it.
    """
    data = dict(settings.get("data", {}))
    if data_path:
        data["path"] = data_path
    source = data.get("source", {})
    if "folder" in source and not Path(source["folder"]).is_dir():
        data["source"] = {**source, "folder": str(ROOT / "data")}  # synthetic leaves are made where they are not
    try:
        config = recompose({**settings, "data": data, "sweep": "verify", "rerun": False})
    except UserError as error:
        moved = "\nIf the photos lie elsewhere now: --data-path PATH" if "data.path" in str(error) else ""
        raise UserError(f"Run {run.run_id} can't be made by this version: {error}{moved}") from None
    had = names.flat(settings)
    new = {key: value for key, value in names.flat(asdict(config)).items() if key not in had}
    return config, {key: value for key, value in new.items() if not key.startswith(names.NOT_CONFIGURATION)}


def use_empty_cache(folder: Path) -> None:
    """From now on, cache in `folder`; with nothing but fetched weights, which are known by their checksum."""
    fetched = list(cache_folder().glob("*.whl"))
    os.environ["XDG_CACHE_HOME"] = str(folder)
    cache_folder().mkdir(parents=True)
    for file in fetched:
        (cache_folder() / file.name).symlink_to(file.absolute())


def check_inputs(run: Tracked, config: Config, tracking_uri: str) -> None:
    """Raise UserError where photos or pretrained weights are not those that the run had."""
    catalog = read_catalog(config)
    dataset = prepare(catalog, config.data, config.cache_bytes)
    if dataset.data_hash != run.tags.get(names.DATA_HASH):
        (listed,) = read_texts([run.artifacts], names.SPLIT_FILE, tracking_uri)
        if listed is None:
            raise UserError(f"The photos are not those of run {run.run_id}.")
        before = pd.read_csv(io.StringIO(listed), dtype=str).set_index("path")["sha256"]
        raise UserError(
            f"The photos are not those of the run ({changes(before, dataset.table.set_index('path')['sha256'])}).\n"
            "Put them back, or say where they lie with --data-path PATH."
        )
    if external := read_external(config, catalog):
        photos = prepare_external(external, dataset, config.data, config.cache_bytes)
        if photos.data_hash != run.tags.get(names.EXTERNAL_HASH):
            raise UserError(
                f"The photos of data.external ({external.name}) are not those of the run, or have other labels.\n"
                f"Put them back: {names.EXTERNAL_PREDICTIONS_FILE} of run {run.run_id} lists them."
            )
    model, had = config.model, run.tags.get(names.WEIGHTS_SHA256)
    now = weights_sha256(model.weights, model.network, config.data.image_size) if model.weights else None
    if had and now and now != had:
        raise UserError(
            f"model.weights={model.weights} does not hold the weights of the run.\n"
            f"Their SHA-256 begins with {now[:12]}, and {had[:12]} is expected."
        )


def train(run: Tracked, config: Config, folder: Path) -> Tracked:
    """Train a run into a store in `folder`; returns what was tracked there."""
    uri = f"sqlite:///{folder}/mlflow.db"
    with tqdm(total=config.epochs, desc="Epochs", unit="", leave=False, disable=None) as bar:

        def count(_: object) -> None:
            bar.update()

        own = replace(config, tracking=TrackingConfig(uri, "verify"))
        try:
            trained = cell.train(own, run.tags.get(names.COMMAND, ""), count)
        except BaseException:
            _forget(uri)
            raise
    return find(open_client(uri), trained.run_id)


def _forget(uri: str) -> None:
    """Delete the checkpoint of a training that was cut off: its store goes, so nothing goes on from there."""
    with contextlib.suppress(UserError):  # it was cut off before there was a store
        client = open_client(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for unfinished in client.search_runs(experiments):
            checkpoints.delete(unfinished.info.run_id)
