"""Training: one phase after the other, every epoch measured, the best weights kept."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from leafexp import names
from leafexp.data.dataset import Dataset, evaluation_batches, steps_per_epoch, training_batches
from leafexp.errors import UserError
from leafexp.training import freeze, prefix
from leafexp.training.phases import PlannedPhase

EpochRow = dict[str, float | int | str]


@dataclass(frozen=True)
class Fit:
    """What training left behind; the model itself holds the best epoch's weights.

    Attributes:
        history: one row an epoch: epoch (from 1), phase, and the metrics of names.EPOCH_METRICS.
        phases: one row a phase: what learned, its epochs, learning rate, batch norm and parameter counts.
        best_epoch: the epoch with the highest validation accuracy, of equals the lowest validation loss.
        total_seconds: wall time from the start of the first epoch to the end of the last.
    """

    history: pd.DataFrame
    phases: pd.DataFrame
    best_epoch: int
    total_seconds: float


def fit(
    model: keras.Model,
    plan: list[PlannedPhase],
    dataset: Dataset,
    make_optimizer: Callable[[float, int], keras.Optimizer],
    batch_size: int,
    seed: int,
    on_epoch: Callable[[EpochRow], None],
    cache_prefix: bool = True,
) -> Fit:
    """Train `model` through the phases of `plan` and leave it with the weights of its best epoch.

    Args:
        model: a compiled or uncompiled functional model; changed in place.
        plan: the phases in order.
        dataset: what to train and validate on.
        make_optimizer: gives a new optimizer for a learning-rate factor and a number of epochs.
        batch_size: images an optimizer step.
        seed: of the order of images.
        on_epoch: called with each epoch's row as soon as the epoch is over.
        cache_prefix: compute the layers before the first that learns once a phase; the results are the same.

    Raises:
        UserError: the loss is no longer a finite number.
        RuntimeError: a weight that was to stay frozen changed.
    """
    steps = steps_per_epoch(dataset, batch_size)
    watch = _EpochWatch(model, on_epoch)
    phase_rows = []
    first_epoch = 0
    for planned in plan:
        momentum = freeze.apply(model, planned.phase, steps)
        before = freeze.frozen_checksum(model)
        watch.begin_phase(planned.name)
        learner, seen = _without_prefix(model, dataset, batch_size) if cache_prefix else (model, dataset)
        prefix_seconds = time.perf_counter() - watch.epoch_started
        optimizer = make_optimizer(planned.phase.learning_rate_factor, planned.epochs)
        # Variables that the first step makes have TensorFlow trace it twice, 14 s each for MobileNetV2: so the metric
        # is an object, whose variables are there already, and the optimizer is built.
        accuracy = keras.metrics.SparseCategoricalAccuracy(name=names.ACCURACY)
        learner.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=[accuracy])
        optimizer.build(learner.trainable_variables)
        trainable, non_trainable = freeze.parameter_counts(model)
        phase_rows.append(
            {
                "phase": planned.name,
                "epochs": planned.epochs,
                "learns": planned.phase.learns,
                "batch_norm": planned.phase.batch_norm,
                "batch_norm_momentum": momentum,
                "learning_rate_factor": planned.phase.learning_rate_factor,
                names.PARAMS_TRAINABLE: trainable,
                names.PARAMS_NON_TRAINABLE: non_trainable,
                "cached_layers": len(model.layers) - len(learner.layers) + 1 if learner is not model else 0,
                names.PREFIX_SECONDS: prefix_seconds if learner is not model else 0.0,
            }
        )
        learner.fit(
            training_batches(seen, batch_size, seed, first_epoch, planned.epochs),
            validation_data=evaluation_batches(seen, "validation", batch_size),
            initial_epoch=first_epoch,
            epochs=first_epoch + planned.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the batches come in this epoch's order
            callbacks=[watch],
            verbose=1 if sys.stdout.isatty() else 2,
        )
        if freeze.frozen_checksum(model) != before:
            raise RuntimeError(f"Weights that phase {planned.name!r} was to leave frozen have changed.")
        first_epoch += planned.epochs
    model.set_weights(watch.best_weights)
    return Fit(pd.DataFrame(watch.rows), pd.DataFrame(phase_rows), watch.best_epoch, watch.ended - watch.started)


def _without_prefix(model: keras.Model, dataset: Dataset, batch_size: int) -> tuple[keras.Model, Dataset]:
    """The part of the model that learns and the features it learns from; all of both where no prefix is frozen."""
    parts = prefix.split(model)
    features = prefix.with_features(dataset, parts.prefix, batch_size) if parts else None
    return (parts.tail, features) if parts and features else (model, dataset)


class _EpochWatch(keras.callbacks.Callback):
    """Times each epoch, validation included, collects its metrics and keeps the best weights so far.

    A phase's first epoch includes what comes before its first step: the prefix's features and the tracing of graphs.
    """

    def __init__(self, whole_model: keras.Model, on_epoch: Callable[[EpochRow], None]) -> None:
        super().__init__()
        self.whole_model = whole_model
        self.on_epoch = on_epoch
        self.phase = ""
        self.phase_begins = False
        self.rows: list[EpochRow] = []
        self.best: tuple[float, float] = (-1.0, 0.0)
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] = []
        self.started = 0.0
        self.epoch_started = 0.0
        self.ended = 0.0

    def begin_phase(self, name: str) -> None:
        """Start the clock of the phase's first epoch."""
        self.phase, self.phase_begins = name, True
        self.epoch_started = time.perf_counter()
        self.started = self.started or self.epoch_started

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        if not self.phase_begins:
            self.epoch_started = time.perf_counter()
        self.phase_begins = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.ended = time.perf_counter()
        row: EpochRow = {"epoch": epoch + 1, "phase": self.phase}
        row |= {name: float(value) for name, value in (logs or {}).items() if name in names.EPOCH_METRICS}
        row[names.EPOCH_SECONDS] = self.ended - self.epoch_started
        row[names.LEARNING_RATE] = float(self.model.optimizer.learning_rate)
        self.rows.append(row)
        self.on_epoch(row)
        loss, val_loss = float(row[names.LOSS]), float(row[names.VAL_LOSS])
        if not np.isfinite([loss, val_loss]).all():
            raise UserError(
                f"The loss is no longer finite in epoch {epoch + 1} (loss {loss}, val_loss {val_loss}). "
                f"Lower optimizer.learning_rate; this phase trains at {row[names.LEARNING_RATE]:g}."
            )
        rank = (float(row[names.VAL_ACCURACY]), -val_loss)
        if rank > self.best:
            self.best, self.best_epoch, self.best_weights = rank, epoch + 1, self.whole_model.get_weights()
