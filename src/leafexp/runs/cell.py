"""One training run, from its configuration to its tracked results."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from leafexp import names
from leafexp.errors import UserError
from leafexp.paths import ROOT
from leafexp.runs import checkpoints, inputs
from leafexp.runs.backend import import_tensorflow
from leafexp.runs.inputs import Inputs
from leafexp.wording import counted

if TYPE_CHECKING:
    from leafexp.settings.schema import Config
    from leafexp.tracking.run import TrackedRun
    from leafexp.training.checkpoint import EpochRow, Progress
    from leafexp.training.record import Record

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
    from leafexp.runs.identity import deciding
    from leafexp.tracking import claim, process, run
    from leafexp.tracking.store import open_store

    settings = asdict(config)
    del settings["tracking"]  # where a run is kept is no part of it, and may hold a password
    row, tags = _row(config), _tags(config, command) | ({names.TRIAL: trial} if trial else {})
    store = open_store(config.tracking.uri, config.tracking.experiment, ROOT)
    try:
        given = inputs.read(config)
    except Exception:
        # Without its photos or weights a run has no identity, but it has failed nevertheless.
        with run.tracked(store, row, tags, settings):
            raise
    elsewhere = given.external.photos if given.external else None
    decided = deciding(config, given.photos, given.weights, elsewhere, trial)
    tags |= {names.IDENTITY: decided.sha256, names.LIBRARIES: ", ".join(decided.libraries)}
    with process.held(decided.sha256):
        while True:
            earlier = claim.look_up(store, decided.sha256)
            # A trial that is finished is of a search whose folder was deleted: it is none of this one.
            if earlier.finished and not config.rerun and not trial:
                claim.join_sweep(store, earlier.finished, str(config.sweep), _tuned(config))
                checkpoints.delete(earlier.finished.info.run_id)
                reached = earlier.finished.data.metrics.get(names.in_section(names.TEST_ACCURACY), math.nan)
                return Result(earlier.finished.info.run_id, skipped=True, test_accuracy=reached)
            unfinished = earlier.unfinished
            progress = checkpoints.progress_of(unfinished.info.run_id) if unfinished else None
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
                    reached = _train(config, given, tracked, progress, on_epoch, trial)
            except claim.Met:
                continue
            checkpoints.delete(tracked.run_id)
            return Result(tracked.run_id, skipped=False, test_accuracy=reached)


def _train(
    config: "Config",
    given: Inputs,
    run: "TrackedRun",
    progress: "Progress | None",
    on_epoch: "Callable[[EpochRow], None]",
    trial: str,
) -> float:
    """What is tracked of a run, from the photos to the model; returns the test accuracy."""
    import_tensorflow()
    from leafexp.data.batches import steps_per_epoch
    from leafexp.runs import network as networks
    from leafexp.runs import results
    from leafexp.runs.external import prepared, track_external
    from leafexp.training import evaluation, phases
    from leafexp.training.fit import fit

    dataset = inputs.prepare(config, given.catalog, run, tested=not trial)
    # The audit's probes are tested on the test photos.
    known = {} if trial else results.track_audit(run, dataset, config.data.audit)
    external = prepared(run, given.external, dataset, config) if given.external and not trial else None

    network = networks.begin(config, len(dataset.classes), given.weights)
    run.log_tags(network.tags)

    planned = phases.plan(config.freeze.phases, config.epochs, network.source is not None, config.trainer.patience)
    intention = results.intention(config.model.title, network.source, planned, dataset)
    run.describe(intention, instead_of=None)
    training = networks.training(config, dataset)
    fitted = fit(network.model, planned, dataset, training, _record(run, progress, on_epoch))

    if trial:
        raise RuntimeError("A trial of a search ends before it is tested.")
    predictions = evaluation.predict(fitted.learner, fitted.seen, training.batch_size)
    # Not before training: the page of a run in `mlflow ui` lists metrics in the order in which they came.
    steps = steps_per_epoch(dataset, training.batch_size) * len(fitted.history)
    run.log_results({**known, names.OPTIMIZER_STEPS: steps})
    accuracy = results.track(run, _row(config), network.model, fitted, dataset, predictions, intention)
    if external:
        track_external(run, network.model, external, training.batch_size)
    return accuracy


def _record(run: "TrackedRun", progress: "Progress | None", on_epoch: "Callable[[EpochRow], None]") -> "Record":
    """Where the epochs of a run are kept: in its checkpoint first, then in the store."""
    from leafexp.training.checkpoint import Checkpoint
    from leafexp.training.record import Record

    def log_and_show(epoch: "EpochRow") -> None:
        run.log_epoch(epoch)
        on_epoch(epoch)

    return Record(log_and_show, progress, Checkpoint(checkpoints.file_of(run.run_id), run.still_ours))


def _tags(config: "Config", command: str) -> dict[str, str]:
    """What is known of a run before it begins."""
    from leafexp.tracking.machine import git_commit
    from leafexp.training.phases import plan

    pretrained = config.model.weights is not None
    last_phase = plan(config.freeze.phases, config.epochs, pretrained)[-1].phase
    return {
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
        **_tuned(config),
    }


def _tuned(config: "Config") -> dict[str, str]:
    """The tag that says what a search spent on these settings; none where there was no search."""
    spent = config.tuning
    if not spent.trials:
        return {}
    return {names.TUNED: f"{counted(spent.trials, 'trial')}, {counted(spent.epochs, 'epoch')}"}


def _row(config: "Config") -> str:
    """The row of the comparison that a run belongs to."""
    return names.row_name(config.model.title, config.freeze.name, config.model.weights is not None)


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
