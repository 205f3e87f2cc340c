"""The schema of the configuration: what may be set, of which type, with which default."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from leafexp.training.phases import Phase


@dataclass
class ModelConfig:
    """A network, its pretrained weights (`imagenet`, a file, or null) and where its partial fine-tuning begins."""

    name: str = MISSING
    title: str = MISSING
    weights: str | None = None
    partial_from: str = MISSING
    network: dict[str, Any] = field(default_factory=dict)


@dataclass
class FreezeConfig:
    """An ordered set of phases; see `leafexp.training.phases.Phase`."""

    name: str = MISSING
    phases: dict[str, Phase] = field(default_factory=dict)


@dataclass
class OptimizerConfig:
    """A Keras optimizer and the course of its learning rate within a phase; lengths in epochs."""

    name: str = MISSING
    learning_rate: float = MISSING
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    step_epochs: float = 3.0
    step_factor: float = 0.3
    clipnorm: float | None = None
    keras: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig:
    """Where the photos are, which classes of them, their size in pixels, and how they are split and shown."""

    name: str = MISSING
    path: str | None = None
    image_size: int = 128
    fit: str = "squeeze"
    white: int | None = None
    on_bad_image: str = "error"
    group_pattern: str | None = None
    classes: list[str] | None = None
    validation_share: float = 0.15
    test_share: float = 0.15
    split_seed: int | None = None
    folds: int | None = None
    fold: int | None = None
    train_per_class: int | None = None
    groups: str = "given"
    external: str | None = None
    external_labels: str | None = None
    views: int = 1
    test_views: int = 1
    audit: str = "error"
    source: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainerConfig:
    """Images per optimizer step, its loss, when training ends, and how a step is computed.

    Of how it is computed, only `precision` changes more than rounding.
    """

    batch_size: int = 32
    class_weights: str | None = None
    label_smoothing: float = 0.0
    patience: int | None = None
    cache_prefix: bool = True
    fused_batch_norm: bool = True
    pointwise_matmul: bool = True
    precision: str = "float32"


@dataclass
class TrackingConfig:
    """The MLflow store (null: MLFLOW_TRACKING_URI, else mlflow.db in the project) and the experiment's name."""

    uri: str | None = None
    experiment: str = "leafexp"


@dataclass
class TuningConfig:
    """What a search spent on finding the settings of a run; zeros where there was none."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0


@dataclass
class Config:
    """Everything that decides a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    epochs: int = 10
    seed: int = 0
    sweep: str | None = None
    rerun: bool = False
    cache_gb: float = 10.0

    @property
    def cache_bytes(self) -> int:
        """What the cache may hold."""
        return int(self.cache_gb * 10**9)


@dataclass
class RangesConfig:
    """What a search draws each setting from; null leaves it as it is. What an arm does not have is not drawn for it."""

    learning_rate: list[float] | None = None
    learning_rate_factor: list[float] | None = None
    dropout: list[float] | None = None
    weight_decay: list[float] | None = None
    schedule: list[str] | None = None
    partial_from: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class SearchConfig:
    """How the settings of each arm are searched; see conf/search.yaml."""

    name: str | None = None
    trials: int = 12
    rungs: list[float] = field(default_factory=list)
    eta: float = 2.0
    seed: int = 0
    test_seeds: int = 3
    ranges: RangesConfig = field(default_factory=RangesConfig)


ConfigStore.instance().store(name="schema", node=Config)
ConfigStore.instance().store(name="search_schema", node={"search": SearchConfig})
