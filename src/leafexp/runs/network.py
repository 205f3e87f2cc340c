"""The network of a run and how it is to be trained, as the configuration says. Needs TensorFlow imported."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from leafexp import names
from leafexp.data.batches import steps_per_epoch
from leafexp.data.dataset import Dataset
from leafexp.errors import UserError
from leafexp.models.pretrained import Source
from leafexp.runs.identity import note_imagenet
from leafexp.settings.build import build
from leafexp.training.fit import Speed, Training
from leafexp.training.loss import Loss
from leafexp.training.optimizer import learning_rate_schedule
from leafexp.training.phases import Phase

if TYPE_CHECKING:
    from leafexp.settings.schema import Config, OptimizerConfig


@dataclass(frozen=True)
class Network:
    """A model and where its weights came from; None where they are random."""

    model: keras.Model
    source: Source | None

    @property
    def tags(self) -> dict[str, str]:
        """What is tracked of it."""
        return {
            names.WEIGHTS_SOURCE: self.source.description if self.source else "none (random)",
            names.WEIGHTS_SHA256: self.source.sha256 if self.source else "none",
            names.THREADS: os.environ["TF_NUM_INTRAOP_THREADS"],
        }


def begin(config: "Config", num_classes: int, weights: str | None) -> Network:
    """The network of a run that begins: nothing of the run before it in this process is left, all is seeded.

    Raises:
        UserError: `imagenet` stands for other weights than those with the checksum `weights`.
    """
    # One process, many models: its warnings of repeated tracing are about that.
    tf.get_logger().setLevel("ERROR")
    # Frees the graph of the run before this one in the same process.
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.trainer.precision)
    network = build_network(config, num_classes)
    source = network.source
    if source and config.model.weights == "imagenet" and source.sha256 != weights:
        raise UserError(
            f"imagenet now stands for other weights than when this run began ({source.description}). "
            "Start again: the run is then another."
        )
    return network


def build_network(config: "Config", num_classes: int) -> Network:
    """The network; what `imagenet` stands for is noted."""
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
    return Network(model, source)


def training(config: "Config", dataset: Dataset) -> Training:
    """How the network is trained on `dataset`."""
    trainer = config.trainer
    steps = steps_per_epoch(dataset, trainer.batch_size)
    speed = Speed(trainer.cache_prefix, config.cache_bytes, trainer.fused_batch_norm, trainer.pointwise_matmul)
    loss = Loss(trainer.class_weights, trainer.label_smoothing)
    return Training(_optimizer_maker(config.optimizer, steps), trainer.batch_size, config.seed, loss, speed)


def _optimizer_maker(optimizer: "OptimizerConfig", steps: int) -> Callable[[Phase, int], keras.Optimizer]:
    """What gives the optimizer of a phase of so many epochs of `steps` steps."""
    clipped = {} if optimizer.clipnorm is None else {"clipnorm": optimizer.clipnorm}

    def make(phase: Phase, epochs: int) -> keras.Optimizer:
        rate = learning_rate_schedule(
            optimizer.learning_rate * phase.learning_rate_factor,
            phase.schedule or optimizer.schedule,
            epochs,
            steps,
            optimizer.warmup_epochs,
            optimizer.step_epochs,
            optimizer.step_factor,
        )
        made: keras.Optimizer = build(optimizer.keras, learning_rate=rate, **clipped)
        return made

    return make
