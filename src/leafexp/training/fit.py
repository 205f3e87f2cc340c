"""Training: one phase after the other, every epoch measured, the best weights kept."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from leafexp import names
from leafexp.cache.room import CacheTooSmall
from leafexp.data.batches import evaluation_batches, steps_per_epoch, training_batches
from leafexp.data.dataset import Dataset
from leafexp.errors import Diverged
from leafexp.training import freeze, prefix
from leafexp.training.checkpoint import Checkpoint, EpochRow, Progress, assign, changing
from leafexp.training.kernels import faster
from leafexp.training.layer_code import Untold
from leafexp.training.phases import PlannedPhase

log = logging.getLogger(__name__)


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
        history: one row an epoch: epoch (from 1), phase, timestamp, and the metrics of names.EPOCH_METRICS.
        phases: one row a phase: what learned, its epochs, batch norm, parameter counts and frozen prefix.
        best_epoch: the epoch with the highest validation accuracy, of equals the lowest validation loss.
        total_seconds: wall time from the start of the first epoch to the end of the last; of a run that was taken up
            again, what each epoch that counts took, and the start of each phase that was begun anew.
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
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train `model` through the phases of `plan` and leave it with the weights of its best epoch.

    With the progress of training that was cut off, it goes on after its last epoch: same metrics, same weights, bit for
    bit, as training that never stopped.

    Args:
        model: a compiled or uncompiled functional model; changed in place.
        plan: the phases in order.
        dataset: what to train and validate on.
        make_optimizer: gives a new optimizer for a learning-rate factor and a number of epochs.
        batch_size: images an optimizer step.
        seed: of the order of images.
        on_epoch: called with each epoch's row as soon as the epoch is over; first with those of the progress.
        speed: how to compute it.
        progress: where to go on from, as a checkpoint held it; changed in place.
        checkpoint: where each epoch's end is saved.

    Raises:
        UserError: the loss is no longer a finite number, or the checkpoint can't be written.
        RuntimeError: a weight that was to stay frozen changed.
    """
    steps = steps_per_epoch(dataset, batch_size)
    progress = progress or Progress()
    watch = _EpochWatch(model, len(dataset.rows("train")), on_epoch, progress, checkpoint)
    assign(model, progress.variables)
    for row in progress.history:
        on_epoch(row)
    first_epoch = 0
    for planned in plan:
        begin, end = max(first_epoch, len(progress.history)), first_epoch + planned.epochs
        momentum = freeze.apply(model, planned.phase, steps)
        watch.begin_phase(planned.name)
        if begin >= end:
            first_epoch = end
            continue
        before = freeze.frozen_checksum(model)
        learner, seen, features = _without_prefix(model, dataset, batch_size, speed)
        # Features of photos that are not trained or validated on are no part of training, though made along.
        watch.begin_training(0.0 if features is None or features.reused else features.other_seconds)
        optimizer = make_optimizer(planned.phase.learning_rate_factor, planned.epochs)
        # Decay is for what multiplies; scales and shifts of batch norm and biases are left out (He et al. 2019,
        # arXiv:1812.01187, section 3.2).
        optimizer.exclude_from_weight_decay([weight for weight in learner.trainable_weights if weight.ndim == 1])
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
        if begin > first_epoch:
            for variable, value in zip(optimizer.variables, progress.optimizer, strict=True):
                variable.assign(value)
        else:
            # Two phases may learn from the same features.
            new = features is not None and seen.pixels_hash not in progress.features_seen
            progress.features_seen.append(seen.pixels_hash)
            trainable, non_trainable = freeze.parameter_counts(model)
            progress.phases.append(
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
        batches = _clocked(training_batches(seen, batch_size, seed, begin, end - begin), watch.waited)
        with faster(learner, speed.fused_batch_norm, speed.pointwise_matmul), freeze.standing_still(learner):
            learner.fit(
                batches,
                validation_data=evaluation_batches(seen, "validation", batch_size),
                initial_epoch=begin,
                epochs=end,
                steps_per_epoch=steps,
                shuffle=False,  # the batches come in this epoch's order
                callbacks=[watch],
                verbose=0,
            )
        if freeze.frozen_checksum(model) != before:
            raise RuntimeError(f"Weights that phase {planned.name!r} was to leave frozen have changed.")
        first_epoch = end
    assign(model, progress.best_variables)
    # Looked up anew: the best epoch may lie in a phase that had other weights before the cut.
    learner, seen, _ = _without_prefix(model, dataset, batch_size, speed)
    history, phases = pd.DataFrame(progress.history), pd.DataFrame(progress.phases)
    return Fit(history, phases, progress.best_epoch, progress.seconds, learner, seen)


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
    except Untold as error:
        log.warning("Frozen layers are computed in each epoch, as one of them holds what no key can name: %s.", error)
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
    """Times each epoch, validation included, and carries its metrics and weights into the progress.

    A phase's first epoch includes what comes before its first step: the prefix's features and the tracing of graphs.
    """

    def __init__(
        self,
        whole_model: keras.Model,
        images: int,
        on_epoch: Callable[[EpochRow], None],
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> None:
        super().__init__()
        self.whole_model = whole_model
        self.images = images
        self.on_epoch = on_epoch
        self.progress = progress
        self.checkpoint = checkpoint
        self.phase = ""
        self.phase_begins = False
        self.changing: dict[str, keras.Variable] = {}
        self.seconds_before = progress.seconds
        self.started = time.perf_counter()
        self.epoch_started = 0.0
        self.training_started = 0.0
        self.validation_started = 0.0
        self.waited = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def begin_phase(self, name: str) -> None:
        """Start the clock of the phase's first epoch; layers are frozen as the phase wants it."""
        self.phase, self.phase_begins = name, True
        self.epoch_started = time.perf_counter()
        for key, variable in changing(self.whole_model).items():
            self.changing[key] = variable
            # What begins to change now had this value after the best epoch so far.
            self.progress.best_variables.setdefault(key, variable.numpy())

    def begin_training(self, other_seconds: float) -> None:
        """The frozen prefix is computed; of the time since the phase began, `other_seconds` do not count."""
        self.training_started = time.perf_counter()
        self.epoch_started += other_seconds
        self.started += other_seconds

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        if not self.phase_begins:
            self.epoch_started = self.training_started = time.perf_counter()
        self.phase_begins = False
        self.waited.assign(0.0)

    def on_test_begin(self, logs: object = None) -> None:  # noqa: ARG002
        self.validation_started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        ended = time.perf_counter()
        data_seconds = float(self.waited.numpy())
        training_seconds = self.validation_started - self.training_started
        row: EpochRow = {"epoch": epoch + 1, "phase": self.phase, names.TIMESTAMP: int(time.time() * 1000)}
        row |= {name: float(value) for name, value in (logs or {}).items() if name in names.EPOCH_METRICS}
        row |= {
            names.EPOCH_SECONDS: ended - self.epoch_started,
            names.DATA_SECONDS: data_seconds,
            names.COMPUTE_SECONDS: training_seconds - data_seconds,
            names.VALIDATION_SECONDS: ended - self.validation_started,
            names.IMAGES_PER_SECOND: self.images / training_seconds,
            names.LEARNING_RATE: float(self.model.optimizer.learning_rate),
        }
        loss, val_loss = float(row[names.LOSS]), float(row[names.VAL_LOSS])
        if not np.isfinite([loss, val_loss]).all():
            # Neither saved nor handed on: trained again, the epoch must not be logged twice.
            raise Diverged(
                f"The loss is no longer finite in epoch {epoch + 1} (loss {loss}, val_loss {val_loss}). "
                f"Lower optimizer.learning_rate; this phase trains at {row[names.LEARNING_RATE]:g}.",
                float(row[names.EPOCH_SECONDS]),
            )
        progress = self.progress
        progress.history.append(row)
        progress.seconds = self.seconds_before + ended - self.started
        progress.variables = {key: variable.numpy() for key, variable in self.changing.items()}
        rank = (float(row[names.VAL_ACCURACY]), -val_loss)
        if rank > progress.best_rank:
            progress.best_rank, progress.best_epoch = rank, epoch + 1
            progress.best_variables = dict(progress.variables)
        if self.checkpoint:
            progress.optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
            self.checkpoint.save(progress)
        self.on_epoch(row)
