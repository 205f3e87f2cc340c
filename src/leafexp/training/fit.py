"""Training: one phase after the other, every epoch measured, the best weights kept."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from leafexp import names
from leafexp.cache import CacheTooSmall
from leafexp.data.dataset import Dataset, evaluation_batches, steps_per_epoch, training_batches
from leafexp.errors import UserError
from leafexp.training import freeze, prefix
from leafexp.training.kernels import faster
from leafexp.training.phases import PlannedPhase

log = logging.getLogger(__name__)

EpochRow = dict[str, float | int | str]


@dataclass(frozen=True)
class Speed:
    """What makes training faster; see conf/config.yaml, `trainer`."""

    cache_prefix: bool = True
    cache_bytes: int = 10**10
    fused_batch_norm: bool = True
    pointwise_matmul: bool = True


@dataclass(frozen=True)
class Fit:
    """What training left behind; the model itself holds the best epoch's weights.

    Attributes:
        history: one row an epoch: epoch (from 1), phase, and the metrics of names.EPOCH_METRICS.
        phases: one row a phase: what learned, its epochs, batch norm, parameter counts and frozen prefix.
        best_epoch: the epoch with the highest validation accuracy, of equals the lowest validation loss.
        total_seconds: wall time from the start of the first epoch to the end of the last.
        learner: the part of the model behind the last phase's frozen prefix; the model where there is none.
        seen: what the learner takes in place of photos: the images with the prefix's outputs.
    """

    history: pd.DataFrame
    phases: pd.DataFrame
    best_epoch: int
    total_seconds: float
    learner: keras.Model
    seen: Dataset

    @property
    def steady_compute_seconds(self) -> float:
        """Median computing time of an epoch of the last phase, its first left out where there are more."""
        seconds = self.history.loc[self.history["phase"] == self.history["phase"].iloc[-1], names.COMPUTE_SECONDS]
        return float((seconds.iloc[1:] if len(seconds) > 1 else seconds).median())


def fit(
    model: keras.Model,
    plan: list[PlannedPhase],
    dataset: Dataset,
    make_optimizer: Callable[[float, int], keras.Optimizer],
    batch_size: int,
    seed: int,
    on_epoch: Callable[[EpochRow], None],
    speed: Speed,
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
        speed: how to compute it.

    Raises:
        UserError: the loss is no longer a finite number.
        RuntimeError: a weight that was to stay frozen changed.
    """
    steps = steps_per_epoch(dataset, batch_size)
    watch = _EpochWatch(model, len(dataset.rows("train")), on_epoch)
    phase_rows = []
    features_seen: set[str] = set()
    first_epoch = 0
    for planned in plan:
        momentum = freeze.apply(model, planned.phase, steps)
        before = freeze.frozen_checksum(model)
        watch.begin_phase(planned.name)
        learner, seen, features = _without_prefix(model, dataset, batch_size, speed)
        watch.begin_training(learner)
        # Two phases may learn from the same features.
        new = features is not None and seen.pixels_hash not in features_seen
        features_seen.add(seen.pixels_hash)
        optimizer = make_optimizer(planned.phase.learning_rate_factor, planned.epochs)
        # Variables that the first step makes have TensorFlow trace it twice, 14 s each for MobileNetV2: so the metric
        # is an object, whose variables are there already, and the optimizer is built.
        accuracy = keras.metrics.SparseCategoricalAccuracy(name=names.ACCURACY)
        learner.compile(
            optimizer=optimizer,
            loss="sparse_categorical_crossentropy",
            metrics=[accuracy],
            # On flat features a step takes a millisecond, less than coming back from TensorFlow after it.
            steps_per_execution=steps if seen.pixels.ndim == 2 else 1,
        )
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
                "cached_layers": len(model.layers) - len(learner.layers) + 1 if features else 0,
                names.PREFIX_SECONDS: features.seconds if features and new else 0.0,
                names.PREFIX_REUSED_SECONDS: features.seconds if features and new and features.reused else 0.0,
                names.PREFIX_FORWARD_SECONDS: features.forward_seconds * watch.images if features else np.nan,
            }
        )
        batches = _clocked(training_batches(seen, batch_size, seed, first_epoch, planned.epochs), watch.waited)
        with faster(learner, speed.fused_batch_norm, speed.pointwise_matmul):
            learner.fit(
                batches,
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
    watch.restore_best()
    # Looked up anew: the best epoch may lie in a phase that had other weights before the cut.
    learner, seen, _ = _without_prefix(model, dataset, batch_size, speed)
    history, phases = pd.DataFrame(watch.rows), pd.DataFrame(phase_rows)
    return Fit(history, phases, watch.best_epoch, watch.ended - watch.started, learner, seen)


def _without_prefix(
    model: keras.Model, dataset: Dataset, batch_size: int, speed: Speed
) -> tuple[keras.Model, Dataset, prefix.Features | None]:
    """The part of the model that learns and the features it learns from; all of both where no prefix is frozen."""
    parts = prefix.split(model) if speed.cache_prefix else None
    if parts is None:
        return model, dataset, None
    try:
        features = prefix.features(dataset, parts.prefix, batch_size, speed.cache_bytes)
    except CacheTooSmall as error:
        log.warning("Frozen layers are computed in each epoch: %s", error)
        return model, dataset, None
    return parts.tail, features.dataset, features


def _clocked(batches: tf.data.Dataset, waited: tf.Variable) -> tf.data.Dataset:
    """The same batches; the seconds that training waits for each are added to `waited`."""
    asked = tf.data.Dataset.counter().map(tf.autograph.experimental.do_not_convert(lambda _: tf.timestamp()))

    @tf.autograph.experimental.do_not_convert
    def note(asked_at: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.control_dependencies([waited.assign_add(tf.timestamp() - asked_at)]):
            return tf.identity(batch[0]), tf.identity(batch[1])

    # zip asks its parts in order: for the time first, then for the batch.
    return tf.data.Dataset.zip(asked, batches).map(note).with_options(batches.options())


class _EpochWatch(keras.callbacks.Callback):
    """Times each epoch, validation included, collects its metrics and keeps the best weights so far.

    A phase's first epoch includes what comes before its first step: the prefix's features and the tracing of graphs.
    """

    def __init__(self, whole_model: keras.Model, images: int, on_epoch: Callable[[EpochRow], None]) -> None:
        super().__init__()
        self.whole_model = whole_model
        self.images = images
        self.on_epoch = on_epoch
        self.phase = ""
        self.phase_begins = False
        self.rows: list[EpochRow] = []
        self.best: tuple[float, float] = (-1.0, 0.0)
        self.best_epoch = 0
        self.learner = whole_model
        self.weights_before: list[np.ndarray] = []
        self.best_weights = (self.weights_before, whole_model, self.weights_before)
        self.started = 0.0
        self.epoch_started = 0.0
        self.training_started = 0.0
        self.validation_started = 0.0
        self.ended = 0.0
        self.waited = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def begin_phase(self, name: str) -> None:
        """Start the clock of the phase's first epoch."""
        self.phase, self.phase_begins = name, True
        self.epoch_started = time.perf_counter()
        self.started = self.started or self.epoch_started

    def begin_training(self, learner: keras.Model) -> None:
        """The frozen prefix is computed; what follows trains `learner`, which holds all that changes in this phase."""
        self.training_started = time.perf_counter()
        self.learner, self.weights_before = learner, self.whole_model.get_weights()

    def restore_best(self) -> None:
        """Give the whole model the weights of the best epoch."""
        before, learner, weights = self.best_weights
        self.whole_model.set_weights(before)
        learner.set_weights(weights)

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        if not self.phase_begins:
            self.epoch_started = self.training_started = time.perf_counter()
        self.phase_begins = False
        self.waited.assign(0.0)

    def on_test_begin(self, logs: object = None) -> None:  # noqa: ARG002
        self.validation_started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.ended = time.perf_counter()
        data_seconds = float(self.waited.numpy())
        training_seconds = self.validation_started - self.training_started
        row: EpochRow = {"epoch": epoch + 1, "phase": self.phase}
        row |= {name: float(value) for name, value in (logs or {}).items() if name in names.EPOCH_METRICS}
        row |= {
            names.EPOCH_SECONDS: self.ended - self.epoch_started,
            names.DATA_SECONDS: data_seconds,
            names.COMPUTE_SECONDS: training_seconds - data_seconds,
            names.VALIDATION_SECONDS: self.ended - self.validation_started,
            names.IMAGES_PER_SECOND: self.images / training_seconds,
            names.LEARNING_RATE: float(self.model.optimizer.learning_rate),
        }
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
            self.best, self.best_epoch = rank, epoch + 1
            self.best_weights = (self.weights_before, self.learner, self.learner.get_weights())
