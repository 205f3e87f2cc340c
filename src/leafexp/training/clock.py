"""How long training takes: each epoch by its parts, and all of it."""

import time

import tensorflow as tf

from leafexp import names


class Clock:
    """Times each epoch, validation included.

    A phase's first epoch includes what comes before its first step: the prefix's features and the tracing of graphs.

    Args:
        images: training photos an epoch.
        seconds: spent by training that was cut off.

    Attributes:
        seconds: spent until the end of the last epoch.
        waited: the seconds that training has waited for batches in this epoch; see `clocked`.
    """

    def __init__(self, images: int, seconds: float) -> None:
        self.images = images
        self.seconds = seconds
        self.waited = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self._seconds_before = seconds
        self._started = time.perf_counter()
        self._phase_begins = False
        self._epoch_started = 0.0
        self._training_started = 0.0
        self._validation_started = 0.0

    def begin_phase(self) -> None:
        """Start the clock of the phase's first epoch."""
        self._phase_begins = True
        self._epoch_started = time.perf_counter()

    def begin_training(self) -> None:
        """Start the clock of training steps; the frozen prefix is computed."""
        self._training_started = time.perf_counter()

    def begin_epoch(self) -> None:
        """Start the clock of an epoch; that of a phase's first one runs already."""
        if not self._phase_begins:
            self._epoch_started = self._training_started = time.perf_counter()
        self._phase_begins = False
        self.waited.assign(0.0)

    def begin_validation(self) -> None:
        """The epoch's last step is done."""
        self._validation_started = time.perf_counter()

    def end_epoch(self) -> dict[str, float]:
        """The epoch's times by the names of their metrics."""
        ended = time.perf_counter()
        data_seconds = float(self.waited.numpy())
        training_seconds = self._validation_started - self._training_started
        self.seconds = self._seconds_before + ended - self._started
        return {
            names.EPOCH_SECONDS: ended - self._epoch_started,
            names.DATA_SECONDS: data_seconds,
            names.COMPUTE_SECONDS: training_seconds - data_seconds,
            names.VALIDATION_SECONDS: ended - self._validation_started,
            names.IMAGES_PER_SECOND: self.images / training_seconds,
        }


def clocked(batches: tf.data.Dataset, waited: tf.Variable) -> tf.data.Dataset:
    """The same batches; the seconds that training waits for each are added to `waited`."""
    asked = tf.data.Dataset.counter().map(tf.autograph.experimental.do_not_convert(lambda _: tf.timestamp()))

    @tf.autograph.experimental.do_not_convert
    def note(asked_at: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        with tf.control_dependencies([waited.assign_add(tf.timestamp() - asked_at)]):
            return tuple(tf.identity(part) for part in batch)

    # zip asks its parts in order: for the time first, then for the batch.
    return tf.data.Dataset.zip(asked, batches).map(note).with_options(batches.options())
