"""One training run, from its configuration to its tracked results."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leafexp import names
from leafexp.cache.room import CHECKPOINTS
from leafexp.errors import UserError
from leafexp.paths import ROOT, cache_folder
from leafexp.runs.backend import import_tensorflow
from leafexp.settings.build import build
from leafexp.wording import counted

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from leafexp.models.pretrained import Source
    from leafexp.settings.schema import Config
    from leafexp.tracking.run import TrackedRun
    from leafexp.training.checkpoint import EpochRow, Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of a run.

    Attributes:
        run_id: its id in MLflow.
        skipped: whether it was finished before.
        test_accuracy: in [0, 1].
    """

    run_id: str
    skipped: bool
    test_accuracy: float


def train(
    config: "Config", command: str, on_epoch: "Callable[[EpochRow], None]" = lambda _: None, trial: str = ""
) -> Result:
    """Train, test and track one run, unless the store holds it finished; go on with one that was cut off.

    Args:
        config: the checked configuration.
        command: what to type to make this run again; tracked with it.
        on_epoch: called with each epoch's row when it is over, first with those that were trained before a cut.
        trial: of a search, which one it is. Test photos are held out, photos not audited, and `on_epoch` ends it.

    Raises:
        Paused: by `on_epoch`; the run says that it waits, and keeps its checkpoint.
        UserError: in the configuration, the photos or the store; the run is tracked as FAILED with the reason.
        KeyboardInterrupt: the run is tracked as KILLED, and goes on when it is started again.
    """
    from leafexp.data.pixels import checksums
    from leafexp.runs.identity import deciding
    from leafexp.tracking import claim, process, run
    from leafexp.tracking.machine import git_commit
    from leafexp.tracking.store import open_store
    from leafexp.training.phases import plan

    settings = asdict(config)
    del settings["tracking"]  # where a run is kept is no part of it, and may hold a password
    pretrained = config.model.weights is not None
    row = names.row_name(config.model.title, config.freeze.name, pretrained)
    last_phase = plan(config.freeze.phases, config.epochs, pretrained)[-1].phase
    tags = {
        names.MODEL: config.model.name,
        names.FREEZE: config.freeze.name,
        names.OPTIMIZER: config.optimizer.name,
        names.DATA: config.data.name,
        names.SEED: str(config.seed),
        names.SWEEP: str(config.sweep),
        names.PRETRAINED: str(pretrained).lower(),
        names.CONTROL: str(not pretrained and last_phase.learns != "all").lower(),
        names.GIT_COMMIT: git_commit(),
        names.COMMAND: command,
        **({names.TRIAL: trial} if trial else {}),
        **_tuned(config),
    }
    store = open_store(config.tracking.uri, config.tracking.experiment, ROOT)
    try:
        catalog = read_catalog(config)
        photos = catalog.assign(sha256=checksums(list(catalog["file"]))[0])
        weights = _weights_sha256(config, catalog["label"].nunique())
    except Exception:
        # Without its photos or weights a run has no identity, but it has failed nevertheless.
        with run.tracked(store, row, tags, settings):
            raise
    decided = deciding(config, photos, weights, trial)
    tags |= {names.IDENTITY: decided.sha256, names.LIBRARIES: ", ".join(decided.libraries)}
    with process.held(decided.sha256):
        while True:
            earlier = claim.look_up(store, decided.sha256)
            if earlier.finished and not config.rerun:
                claim.join_sweep(store, earlier.finished, str(config.sweep), _tuned(config))
                delete_checkpoint(earlier.finished.info.run_id)
                reached = earlier.finished.data.metrics.get(names.in_section(names.TEST_ACCURACY), math.nan)
                return Result(earlier.finished.info.run_id, skipped=True, test_accuracy=reached)
            unfinished = earlier.unfinished
            progress = _progress(unfinished.info.run_id) if unfinished else None
            # A checkpoint that lacks epochs would have them logged a second time.
            if unfinished and claim.epochs_logged(store, unfinished) > (len(progress.history) if progress else 0):
                log.warning(
                    "The checkpoint of run %s, which was cut off, is not here or damaged: starting anew.",
                    unfinished.info.run_id,
                )
                unfinished = progress = None
            try:
                with run.tracked(store, row, tags, settings, unfinished) as tracked, _memory_shown():
                    if unfinished and names.LOSS in unfinished.data.metrics and not trial:
                        print(f"Going on with run {tracked.run_id}, which was cut off.", flush=True)
                    reached = _train(config, catalog, row, tracked, weights, progress, on_epoch, trial)
            except claim.Met:
                continue
            delete_checkpoint(tracked.run_id)
            return Result(tracked.run_id, skipped=False, test_accuracy=reached)


def _train(
    config: "Config",
    catalog: "pd.DataFrame",
    row: str,
    run: "TrackedRun",
    weights: str | None,
    progress: "Progress | None",
    on_epoch: "Callable[[EpochRow], None]",
    trial: str,
) -> float:
    """What is tracked of a run, from the photos to the model; returns the test accuracy."""
    tf = import_tensorflow()
    import keras

    from leafexp.data import batches
    from leafexp.data import dataset as datasets
    from leafexp.runs import results
    from leafexp.training import evaluation, phases
    from leafexp.training.checkpoint import Checkpoint
    from leafexp.training.fit import Speed, fit
    from leafexp.training.optimizer import learning_rate_schedule

    data, optimizer, trainer = config.data, config.optimizer, config.trainer
    batch_size, cache_bytes = trainer.batch_size, int(config.cache_gb * 10**9)
    dataset = datasets.prepare(catalog, data, cache_bytes)
    if trial:
        dataset = dataset.without_test()
    run.check_same_photos(str(config.sweep), names.flat(asdict(config)), dataset.table, dataset.data_hash)
    run.log_data(
        dataset.table,
        dataset.skipped,
        Path(data.path).stem if data.path else data.name,
        data.path or data.name,
        {
            names.DATA_HASH: dataset.data_hash,
            names.SPLIT_HASH: dataset.split_hash,
            names.TEST_HASH: dataset.test_hash,
        },
    )

    # The audit's probes are tested on the test photos.
    known = {} if trial else results.track_audit(run, dataset, data.audit)

    # One process, many models: its warnings of repeated tracing are about that.
    tf.get_logger().setLevel("ERROR")
    # Frees the graph of the run before this one in the same process.
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(trainer.precision)
    model, source = _build(config, len(dataset.classes))
    if source and config.model.weights == "imagenet" and source.sha256 != weights:
        raise UserError(
            f"imagenet now stands for other weights than when this run began ({source.description}). "
            "Start again: the run is then another."
        )
    run.log_tags(
        {
            names.WEIGHTS_SOURCE: source.description if source else "none (random)",
            names.WEIGHTS_SHA256: source.sha256 if source else "none",
            names.THREADS: os.environ["TF_NUM_INTRAOP_THREADS"],
        }
    )

    steps = batches.steps_per_epoch(dataset, batch_size)

    def make_optimizer(factor: float, epochs: int) -> keras.Optimizer:
        rate = learning_rate_schedule(
            optimizer.learning_rate * factor,
            optimizer.schedule,
            epochs,
            steps,
            optimizer.warmup_epochs,
            optimizer.step_epochs,
            optimizer.step_factor,
        )
        made: keras.Optimizer = build(optimizer.keras, learning_rate=rate)
        return made

    def log_and_show(epoch: "EpochRow") -> None:
        run.log_epoch(epoch)
        on_epoch(epoch)

    planned = phases.plan(config.freeze.phases, config.epochs, source is not None)
    intention = results.intention(config.model.title, source, planned, dataset)
    run.describe(intention, instead_of=None)
    fitted = fit(
        model,
        planned,
        dataset,
        make_optimizer,
        batch_size,
        config.seed,
        log_and_show,
        Speed(trainer.cache_prefix, cache_bytes, trainer.fused_batch_norm, trainer.pointwise_matmul),
        progress,
        Checkpoint(_checkpoint_file(run.run_id), run.still_ours),
    )

    if trial:
        raise RuntimeError("A trial of a search ends before it is tested.")
    predictions = evaluation.predict(fitted.learner, fitted.seen, batch_size)
    # Not before training: the page of a run in `mlflow ui` lists metrics in the order in which they came.
    run.log_results({**known, names.OPTIMIZER_STEPS: steps * config.epochs})
    return results.track(run, row, model, fitted, dataset, predictions, intention)


def _tuned(config: "Config") -> dict[str, str]:
    """The tag that says what a search spent on these settings; none where there was no search."""
    spent = config.tuning
    if not spent.trials:
        return {}
    return {names.TUNED: f"{counted(spent.trials, 'trial')}, {counted(spent.epochs, 'epoch')}"}


def read_catalog(config: "Config") -> "pd.DataFrame":
    """The photos' table, without reading any of them."""
    from leafexp.data.catalog import of_classes

    data = config.data
    catalog: pd.DataFrame = build(data.source, path=data.path, group_pattern=data.group_pattern)
    return catalog if data.classes is None else of_classes(catalog, data.classes)


def _weights_sha256(config: "Config", num_classes: int) -> str | None:
    """Checksum of the pretrained weights, None without; the first time on a machine, `imagenet` is loaded for it."""
    from leafexp.runs.identity import weights_sha256

    if config.model.weights is None:
        return None
    known = weights_sha256(config.model.weights, config.model.network, config.data.image_size)
    if known is None:
        import_tensorflow()
        _, source = _build(config, num_classes)
        return source.sha256 if source else None
    return known


def _build(config: "Config", num_classes: int) -> "tuple[keras.Model, Source | None]":
    """The model and its weights' source; what `imagenet` stands for is noted."""
    from leafexp.runs.identity import note_imagenet

    model: keras.Model
    source: Source | None
    model, source = build(
        config.model.network,
        image_size=config.data.image_size,
        num_classes=num_classes,
        weights=config.model.weights,
    )
    if source and config.model.weights == "imagenet":
        note_imagenet(config.model.network, config.data.image_size, source.sha256)
    return model, source


def _progress(run_id: str) -> "Progress | None":
    """What was saved of a run that was cut off; None where nothing was, or where it is damaged."""
    if not _checkpoint_file(run_id).exists():
        return None
    import_tensorflow()
    from leafexp.training.checkpoint import Checkpoint

    return Checkpoint(_checkpoint_file(run_id)).load()


def delete_checkpoint(run_id: str) -> None:
    """Delete it, and what was left where writing it was cut off."""
    for file in _checkpoint_file(run_id).parent.glob(f"{run_id}.*"):
        file.unlink(missing_ok=True)


def _checkpoint_file(run_id: str) -> Path:
    return cache_folder() / CHECKPOINTS / f"{run_id}.npz"


@contextlib.contextmanager
def _memory_shown() -> Iterator[None]:
    """Turn a lack of memory into advice."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            raise UserError(
                f"Out of memory ({str(error).splitlines()[0] if str(error) else 'no details'}). Lower "
                "trainer.batch_size, data.image_size or the network's width, or close other programs."
            ) from error
        raise
