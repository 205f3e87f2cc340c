"""Adam in one kernel, and the learning rate's course over a phase."""

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule


class Adam(keras.optimizers.Adam):
    """Keras's Adam, a variable's update as one kernel in place of a dozen; equal up to rounding."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update one variable and its moments."""
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        step = tf.cast(self.iterations.value + 1, tf.float32)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class WarmUp(LearningRateSchedule):
    """Another course with its first steps rising linearly from 0 (Goyal et al. 2017, arXiv:1706.02677)."""

    def __init__(self, steps: int, then: LearningRateSchedule | float) -> None:
        self.steps = steps
        self.then = then

    def __call__(self, step: int) -> keras.KerasTensor:
        """The learning rate at `step`, counted from 0."""
        rate = self.then(step) if callable(self.then) else self.then
        return rate * ops.minimum(1.0, (ops.cast(step, "float32") + 1) / self.steps)


def learning_rate_schedule(
    learning_rate: float,
    schedule: str,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float,
    step_epochs: float,
    step_factor: float,
) -> LearningRateSchedule | float:
    """The learning rate by optimizer step for a phase of `epochs` epochs.

    Args:
        learning_rate: its highest value.
        schedule: `constant`, `cosine` (to 0 at the phase's end; Loshchilov & Hutter 2017, arXiv:1608.03983) or `step`
            (times `step_factor` every `step_epochs` epochs).
        epochs: length of the phase.
        steps_per_epoch: optimizer steps an epoch.
        warmup_epochs: epochs over which the rate rises from 0, beneath the schedule.
        step_epochs: epochs between two steps.
        step_factor: what a step multiplies the rate by.
    """
    course: LearningRateSchedule | float = learning_rate
    if schedule == "cosine":
        course = CosineDecay(learning_rate, decay_steps=epochs * steps_per_epoch)
    elif schedule == "step":
        every = max(1, round(step_epochs * steps_per_epoch))
        course = ExponentialDecay(learning_rate, decay_steps=every, decay_rate=step_factor, staircase=True)
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    return WarmUp(warmup_steps, course) if warmup_steps else course
