"""Training: one phase after the other, every epoch measured, the best weights kept."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import pandas as pd

from leafexp import names
from leafexp.cache.room import CacheTooSmall
from leafexp.data.batches import evaluation_batches, images_to_fit, images_to_test, steps_per_epoch, training_batches
from leafexp.data.dataset import Dataset
from leafexp.errors import Diverged
from leafexp.training import freeze, prefix
from leafexp.training.checkpoint import EpochRow
from leafexp.training.clock import Clock, clocked
from leafexp.training.costs import prefix_costs
from leafexp.training.kernels import faster
from leafexp.training.layer_code import Untold
from leafexp.training.loss import Loss
from leafexp.training.phases import Phase, PlannedPhase
from leafexp.training.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What makes training faster; see conf/config.yaml, `trainer`."""

    cache_prefix: bool = True
    cache_bytes: int = 10**10
    fused_batch_norm: bool = True
    pointwise_matmul: bool = True


@dataclass(frozen=True)
class Training:
    """How a network learns in each phase.

    Attributes:
        make_optimizer: gives a new optimizer for a phase and its number of epochs.
        batch_size: images an optimizer step.
        seed: of the order of images.
        loss: what is lowered.
        speed: how to compute it.
    """

    make_optimizer: Callable[[Phase, int], keras.Optimizer]
    batch_size: int
    seed: int = 0
    loss: Loss = field(default_factory=Loss)
    speed: Speed = Speed()


@dataclass(frozen=True)
class Fit:
    """What training left behind; the model itself holds the best epoch's weights.

    Attributes:
        history: one row an epoch: epoch (from 1), phase, timestamp, and the metrics of names.EPOCH_METRICS.
        phases: one row a phase: what learned, its epochs as trained, batch norm, parameter counts and frozen prefix.
        best_epoch: the epoch with the highest validation accuracy, of equals the lowest validation loss.
        total_seconds: wall time from the start of the first epoch to the end of the last; of a run that was taken up
            again, what each epoch that counts took, and the start of each phase that was begun anew.
        learner: the part of the model behind the last phase's frozen prefix; the model where there is none.
        seen: what the learner takes in place of test photos: these with the prefix's outputs.
        test_prefix_seconds: what these outputs took, in this run or in an earlier one; no part of training.
        stopped_early: whether patience ended the last phase before its planned epochs.
    """

    history: pd.DataFrame
    phases: pd.DataFrame
    best_epoch: int
    total_seconds: float
    learner: keras.Model
    seen: Dataset
    test_prefix_seconds: float
    stopped_early: bool

    @property
    def steady_compute_seconds(self) -> float:
        """Median computing time of an epoch of the last phase, its first left out where there are more."""
        seconds = self.history.loc[self.history["phase"] == self.history["phase"].iloc[-1], names.COMPUTE_SECONDS]
        return float((seconds.iloc[1:] if len(seconds) > 1 else seconds).median())


def fit(model: keras.Model, plan: list[PlannedPhase], dataset: Dataset, training: Training, record: Record) -> Fit:
    """Train `model` through the phases of `plan` and leave it with the weights of its best epoch.

    With the record of training that was cut off, it goes on after its last epoch: same metrics, same weights, bit for
    bit, as training that never stopped.

    Args:
        model: a compiled or uncompiled functional model; changed in place.
        plan: the phases in order.
        dataset: what to train and validate on.
        training: how.
        record: where each epoch is kept.

    Raises:
        UserError: the loss is no longer a finite number, or the checkpoint can't be written.
        RuntimeError: a weight that was to stay frozen changed.
    """
    clock = Clock(len(dataset.rows("train")), record.progress.seconds)
    steps = steps_per_epoch(dataset, training.batch_size)
    record.go_on(model)
    first = 0
    for planned in plan:
        momentum = freeze.apply(model, planned.phase, steps)
        clock.begin_phase()
        record.begin_phase(model)
        if record.epochs < first + planned.epochs and not record.no_better(planned):
            before = freeze.frozen_checksum(model)
            left = range(max(first, record.epochs), first + planned.epochs)
            images = images_to_fit(dataset, training.seed, left.start, len(left))
            part = _learning(model, dataset, images, training)
            clock.begin_training()
            if record.epochs <= first:
                costs = prefix_costs(part.features, dataset, record.progress, training.seed, planned.epochs)
                _describe(planned, momentum, model, part, costs, record)
            _train_phase(part, planned, first, training, record, clock)
            if freeze.frozen_checksum(model) != before:
                raise RuntimeError(f"Weights that phase {planned.name!r} was to leave frozen have changed.")
        first += planned.epochs
    record.restore_best(model)
    # Only now: the best epoch may lie in a phase that had other weights before the cut.
    images = images_to_test(dataset)
    part, progress = _learning(model, dataset, images, training), record.progress
    test_seconds = part.features.seconds(images) if part.features else 0.0
    history, phases = pd.DataFrame(progress.history), pd.DataFrame(progress.phases)
    phases["epochs"] = phases["phase"].map(history["phase"].value_counts())
    stopped_early = record.epochs < first
    return Fit(
        history, phases, progress.best_epoch, progress.seconds, part.model, part.seen, test_seconds, stopped_early
    )


@dataclass(frozen=True)
class _Part:
    """The part of a model that learns, and what it learns from: features where a frozen prefix comes before it."""

    model: keras.Model
    seen: Dataset
    features: prefix.Features | None


def _learning(model: keras.Model, dataset: Dataset, images: np.ndarray, training: Training) -> _Part:
    """The part of the model that learns, with features of the images; all of the model where no prefix is frozen."""
    parts = prefix.split(model) if training.speed.cache_prefix else None
    if parts is None:
        return _Part(model, dataset, None)
    try:
        features = prefix.features(dataset, parts.prefix, images, training.batch_size, training.speed.cache_bytes)
    except CacheTooSmall as error:
        log.warning("Frozen layers are computed in each epoch: %s", error)
        return _Part(model, dataset, None)
    except Untold as error:
        log.warning("Frozen layers are computed in each epoch, as one of them holds what no key can name: %s.", error)
        return _Part(model, dataset, None)
    return _Part(parts.tail, features.dataset, features)


def _describe(
    planned: PlannedPhase,
    momentum: float | None,
    model: keras.Model,
    part: _Part,
    costs: dict[str, float],
    record: Record,
) -> None:
    """Record a phase that begins."""
    record.progress.features_seen.append(part.seen.pixels_hash)
    trainable, non_trainable = freeze.parameter_counts(model)
    record.progress.phases.append(
        {
            "phase": planned.name,
            "epochs": planned.epochs,
            "learns": planned.phase.learns,
            "batch_norm": planned.phase.batch_norm,
            "batch_norm_momentum": momentum,
            "learning_rate_factor": planned.phase.learning_rate_factor,
            names.PARAMS_TRAINABLE: trainable,
            names.PARAMS_NON_TRAINABLE: non_trainable,
            "cached_layers": len(model.layers) - len(part.model.layers) + 1 if part.features else 0,
            **costs,
        }
    )


def _train_phase(
    part: _Part, planned: PlannedPhase, first: int, training: Training, record: Record, clock: Clock
) -> None:
    """Train the epochs of a phase, which begins after epoch `first`, that are not recorded yet."""
    learner, seen, loss, speed = part.model, part.seen, training.loss, training.speed
    begin, end = max(first, record.epochs), first + planned.epochs
    steps = steps_per_epoch(seen, training.batch_size)
    optimizer = training.make_optimizer(planned.phase, planned.epochs)
    # Decay is for what multiplies; scales and shifts of batch norm and biases are left out (He et al. 2019,
    # arXiv:1812.01187, section 3.2).
    optimizer.exclude_from_weight_decay([weight for weight in learner.trainable_weights if weight.ndim == 1])
    # Variables that the first step makes have TensorFlow trace it twice, 14 s each for MobileNetV2: so the metric
    # is an object, whose variables are there already, and the optimizer is built.
    accuracy = loss.accuracy()
    learner.compile(
        optimizer=optimizer,
        loss=loss.function,
        metrics=[accuracy],
        # On flat features a step takes a millisecond, less than coming back from TensorFlow after it.
        steps_per_execution=steps if seen.pixels.ndim == 2 else 1,
    )
    optimizer.build(learner.trainable_variables)
    if begin > first:
        for variable, value in zip(optimizer.variables, record.progress.optimizer, strict=True):
            variable.assign(value)
    batches = loss.training(training_batches(seen, training.batch_size, training.seed, begin, end - begin), seen)
    with faster(learner, speed.fused_batch_norm, speed.pointwise_matmul), freeze.standing_still(learner):
        learner.fit(
            clocked(batches, clock.waited),
            validation_data=loss.validation(evaluation_batches(seen, "validation", training.batch_size), seen),
            initial_epoch=begin,
            epochs=end,
            steps_per_epoch=steps,
            shuffle=False,  # the batches come in this epoch's order
            callbacks=[_Epochs(planned, record, clock)],
            verbose=0,
        )


class _Epochs(keras.callbacks.Callback):
    """Carries the epochs of a phase, with their times, into the record."""

    def __init__(self, planned: PlannedPhase, record: Record, clock: Clock) -> None:
        super().__init__()
        self.planned = planned
        self.record = record
        self.clock = clock

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self.clock.begin_epoch()

    def on_test_begin(self, logs: object = None) -> None:  # noqa: ARG002
        self.clock.begin_validation()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        times = self.clock.end_epoch()
        row: EpochRow = {"epoch": epoch + 1, "phase": self.planned.name, names.TIMESTAMP: int(time.time() * 1000)}
        row |= {name: float(value) for name, value in (logs or {}).items() if name in names.EPOCH_METRICS}
        row |= {**times, names.LEARNING_RATE: float(self.model.optimizer.learning_rate)}
        loss, val_loss = float(row[names.LOSS]), float(row[names.VAL_LOSS])
        if not np.isfinite([loss, val_loss]).all():
            # Neither saved nor handed on: trained again, the epoch must not be logged twice.
            raise Diverged(
                f"The loss is no longer finite in epoch {epoch + 1} (loss {loss}, val_loss {val_loss}). "
                f"Lower optimizer.learning_rate; this phase trains at {row[names.LEARNING_RATE]:g}.",
                float(row[names.EPOCH_SECONDS]),
            )
        self.record.end_epoch(row, self.clock.seconds, self.model.optimizer)
        self.model.stop_training = self.record.no_better(self.planned)
