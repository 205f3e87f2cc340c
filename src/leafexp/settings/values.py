"""What each value of the configuration may be."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafexp import names
from leafexp.data.spelling import printable
from leafexp.errors import UserError, did_you_mean
from leafexp.training.phases import BATCH_NORM_POLICIES

if TYPE_CHECKING:
    from leafexp.settings.schema import Config, SearchConfig

FEWEST_FOLDS = 3  # one tests, one validates, the rest trains
BAD_IMAGE_POLICIES = ("error", "skip")
GROUPS = ("given", "near_duplicates")
AUDIT_POLICIES = ("error", "warn")
SCHEDULES = ("constant", "cosine", "step")
CLASS_WEIGHTS = ("balanced",)
FITS = ("squeeze", "pad", "crop")
VIEWS = (1, 8)
PRECISIONS = ("float32", "mixed_bfloat16")
# `all` and `latest` are others to the report.
_NAME = re.compile(r"(?!(all|latest)$)\w[\w.+-]{0,59}")
_NAME_IN_WORDS = "a name for a folder and a tag (60 letters, digits and . _ + - at most, the first a letter or digit)"


def _expect(holds: bool, key: str, expected: str, value: Any) -> None:
    if not holds:
        raise UserError(f"{key} must be {expected}; got {value!r}.")


def _expect_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"There is no {key}={value}. {did_you_mean(value, choices)}")


def check_search(search: "SearchConfig") -> None:
    """Raise UserError for the first value that no search could use."""
    _expect(search.name is None or bool(_NAME.fullmatch(search.name)), "search.name", _NAME_IN_WORDS, search.name)
    _expect(search.trials >= 1, "search.trials", "at least 1", search.trials)
    _expect(all(0 < share <= 1 for share in search.rungs), "search.rungs", "shares in (0, 1]", search.rungs)
    _expect(1 < search.eta < math.inf, "search.eta", "over 1", search.eta)
    _expect(0 <= search.seed < 10**4, "search.seed", "in [0, 9999]", search.seed)
    _expect(search.test_seeds >= 1, "search.test_seeds", "at least 1", search.test_seeds)
    ranges = search.ranges
    for name, least in (("learning_rate", 1e-12), ("learning_rate_factor", 1e-12), ("dropout", 0.0)):
        values = getattr(ranges, name)
        ordered = values is None or (len(values) == 2 and least <= values[0] < values[1] < math.inf)
        above = "two numbers, the smaller first" + (", over 0" if least else "")
        _expect(ordered, f"search.ranges.{name}", above, values)
    _expect(not ranges.dropout or ranges.dropout[1] < 1, "search.ranges.dropout", "under 1", ranges.dropout)
    decays = ranges.weight_decay
    _expect(
        decays is None or all(0 <= one < math.inf for one in decays), "search.ranges.weight_decay", "0 or more", decays
    )
    for schedule in ranges.schedule or ():
        _expect_choice("search.ranges.schedule", schedule, SCHEDULES)


def check_values(config: "Config") -> None:
    """Raise UserError for the first value that no run could use."""
    expect, expect_choice = _expect, _expect_choice
    data, optimizer, trainer = config.data, config.optimizer, config.trainer
    for key, value in names.flat(asdict(config)).items():
        for number in value if isinstance(value, list) else [value]:
            expect(not isinstance(number, float) or math.isfinite(number), key, "a finite number", value)
    expect(config.epochs >= 1, "epochs", "at least 1", config.epochs)
    expect(0 <= config.seed < 2**31, "seed", "in [0, 2147483647]", config.seed)
    partition = data.split_seed
    expect(partition is None or 0 <= partition < 2**32, "data.split_seed", "in [0, 4294967295], or null", partition)
    folds, fold = data.folds, data.fold
    expect(folds is None or folds >= FEWEST_FOLDS, "data.folds", f"at least {FEWEST_FOLDS}, or null", folds)
    if fold is not None:
        expect(folds is not None, "data.fold", "null where data.folds is not set", fold)
        expect(folds is None or 0 <= fold < folds, "data.fold", f"from 0 to {(folds or 1) - 1}", fold)
    expect(config.trainer.batch_size >= 1, "trainer.batch_size", "at least 1", config.trainer.batch_size)
    if trainer.class_weights is not None:
        expect_choice("trainer.class_weights", trainer.class_weights, CLASS_WEIGHTS)
    smoothing, patience = trainer.label_smoothing, trainer.patience
    expect(0 <= smoothing < 1, "trainer.label_smoothing", "in [0, 1)", smoothing)
    expect(patience is None or patience >= 1, "trainer.patience", "at least 1 epoch, or null", patience)
    expect_choice("trainer.precision", config.trainer.precision, PRECISIONS)
    expect(config.sweep is None or bool(_NAME.fullmatch(config.sweep)), "sweep", _NAME_IN_WORDS, config.sweep)
    for key, spent in asdict(config.tuning).items():
        expect(spent >= 0, f"tuning.{key}", "0 or more", spent)
    expect(config.cache_gb > 0, "cache_gb", "over 0", config.cache_gb)
    expect(32 <= data.image_size <= 4096, "data.image_size", "from 32 to 4096 pixels", data.image_size)
    expect(data.white is None or data.white >= 1, "data.white", "a whole number of at least 1, or null", data.white)
    expect_choice("data.fit", data.fit, FITS)
    for key in ("views", "test_views"):
        views = getattr(data, key)
        expect(views in VIEWS, f"data.{key}", "1 (the photo as it is) or 8 (turned and mirrored)", views)
    expect_choice("data.on_bad_image", data.on_bad_image, BAD_IMAGE_POLICIES)
    expect_choice("data.groups", data.groups, GROUPS)
    expect_choice("data.audit", data.audit, AUDIT_POLICIES)
    for key in ("validation_share", "test_share"):
        share = getattr(data, key)
        expect(0 < share < 1, f"data.{key}", "between 0 and 1", share)
    shares = data.validation_share + data.test_share
    expect(shares < 1, "data.validation_share + data.test_share", "under 1", shares)
    few = data.train_per_class
    expect(few is None or few >= 1, "data.train_per_class", "at least 1, or null for all", few)
    if data.group_pattern is not None:
        try:
            re.compile(data.group_pattern)
        except re.error as error:
            raise UserError(f"data.group_pattern is not a regular expression: {error}.") from None
    if data.name in ("folder", "table"):
        expect(data.path is not None, "data.path", f"set with data={data.name}", data.path)
    if data.path is not None and printable(data.path) != unicodedata.normalize("NFC", data.path):
        raise UserError(f"The name in data.path={printable(data.path)} is not UTF-8. Rename the folder or the file.")
    if data.path is not None and data.name != "leafsim" and not Path(data.path).expanduser().exists():
        raise UserError(f"data.path={data.path} does not exist (looked from {Path.cwd()}).")
    for key, value in (("data.external", data.external), ("data.external_labels", data.external_labels)):
        if value is not None and not Path(value).expanduser().exists():
            raise UserError(f"{key}={printable(value)} does not exist (looked from {Path.cwd()}).")
    without = data.external is None and data.external_labels is not None
    expect(not without, "data.external", "set with data.external_labels", data.external)
    expect(optimizer.learning_rate > 0, "optimizer.learning_rate", "over 0", optimizer.learning_rate)
    expect_choice("optimizer.schedule", optimizer.schedule, SCHEDULES)
    expect(optimizer.warmup_epochs >= 0, "optimizer.warmup_epochs", "0 or more", optimizer.warmup_epochs)
    expect(optimizer.step_epochs > 0, "optimizer.step_epochs", "over 0", optimizer.step_epochs)
    expect(optimizer.step_factor > 0, "optimizer.step_factor", "over 0", optimizer.step_factor)
    clipnorm = optimizer.clipnorm
    expect(clipnorm is None or clipnorm > 0, "optimizer.clipnorm", "over 0, or null", clipnorm)
    twice = clipnorm is not None and "clipnorm" in optimizer.keras
    expect(not twice, "optimizer.clipnorm", "null where optimizer.keras.clipnorm is set", clipnorm)
    averaged = optimizer.keras.get("use_ema", False)
    expect(
        not averaged, "optimizer.keras.use_ema", "false, as a run that was cut off could not go on with it", averaged
    )
    expect(len(config.freeze.phases) > 0, "freeze.phases", "at least one phase", {})
    for name, phase in config.freeze.phases.items():
        key = f"freeze.phases.{name}"
        expect(0 <= phase.epoch_share <= 1, f"{key}.epoch_share", "in [0, 1]", phase.epoch_share)
        factor = phase.learning_rate_factor
        expect(factor > 0, f"{key}.learning_rate_factor", "over 0", factor)
        if phase.schedule is not None:
            expect_choice(f"{key}.schedule", phase.schedule, SCHEDULES)
        expect_choice(f"{key}.batch_norm", phase.batch_norm, BATCH_NORM_POLICIES)
        momentum = phase.batch_norm_momentum
        number = isinstance(momentum, int | float) and 0 <= momentum < 1
        expect(number or momentum in (None, "auto"), f"{key}.batch_norm_momentum", "in [0, 1), auto or null", momentum)
    weights = config.model.weights
    if weights not in (None, "imagenet") and not Path(weights).expanduser().is_file():
        raise UserError(f"model.weights={weights} is not a file (looked from {Path.cwd()}). Or: imagenet, null.")
