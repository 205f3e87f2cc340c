"""What parts one run from another, in words short enough for a label, and what sentences call a row."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from leafexp import names
from leafexp.report.read.runs import Run, shared_configurations

# What parts runs whose configuration is the same.
IDENTITIES: dict[str, Callable[[Run], str]] = {
    names.DATA_HASH: lambda run: run.photos if run.photos.startswith("unknown") else run.photos[:8],
    names.WEIGHTS_SHA256: lambda run: run.tags.get(names.WEIGHTS_SHA256, "")[:8],
}
LONGEST_NAME = 44  # characters; where settings make a name longer, rows are called by letters
_ARMS = {"frozen": "head only", "partial": "top fine-tuned", "unfrozen": "fine-tuned whole"}
_CONTROLS = {"frozen": "head trained", "partial": "top trained"}
# A setting with its value, as one would say it; {} is the value.
_SAID = {
    ("epochs", None): "{} epochs",
    ("head.epoch_share", "0"): "no head phase",
    ("head.epoch_share", None): "head phase first",
    ("tune.batch_norm_momentum", "None"): "Keras's batch norm",
    ("tune.batch_norm_momentum", "auto"): "adapted batch norm",
    ("tune.learning_rate_factor", "1"): "full learning rate",
    ("tune.learning_rate_factor", None): "learning rate x {}",
    ("optimizer.learning_rate", None): "learning rate {}",
    ("data.train_per_class", "None"): "all photos",
    ("data.train_per_class", None): "{} photos a class",
    ("data.image_size", None): "{} px",
    ("data.folds", "None"): "one split",
    ("data.folds", None): "{} folds",
    ("data.fit", "squeeze"): "squeezed photos",
    ("data.fit", "pad"): "padded photos",
    ("data.fit", "crop"): "cropped photos",
    ("data.views", "1"): "photos as they are",
    ("data.views", None): "{} views",
    ("data.test_views", "1"): "tested as they are",
    ("data.test_views", None): "tested in {} views",
    ("model.weights", "None"): "random weights",
    ("trainer.class_weights", "None"): "no class weights",
    ("trainer.class_weights", "balanced"): "class weights",
    ("trainer.label_smoothing", "0"): "no label smoothing",
    ("trainer.label_smoothing", None): "label smoothing {}",
    ("trainer.patience", "None"): "no early stopping",
    ("trainer.patience", None): "patience {}",
    ("optimizer.clipnorm", "None"): "no clipping",
    ("optimizer.clipnorm", None): "clipping at {}",
}
# Levers (conf/lever) as they are where they are not set: then they go without saying.
_NO_LEVER = {
    "trainer.class_weights": "None",
    "trainer.label_smoothing": "0.0",
    "trainer.patience": "None",
    "optimizer.clipnorm": "None",
    "data.image_size": "128",
    "data.fit": "squeeze",
    "data.views": "1",
    "data.test_views": "1",
}


def in_words(run: Run) -> str:
    """What a run's arm is called: `top fine-tuned`, `CNN from scratch`, the strategy's own name where it has none."""
    freeze = run.tags.get(names.FREEZE, "") or run.params.get("freeze.name", "")
    title = run.row.removesuffix(f"_{freeze}")
    title = "CNN" if (run.tags.get(names.MODEL) or run.params.get("model.name")) == "cnn" else title
    if run.tags.get(names.PRETRAINED) == "true":
        return _ARMS.get(freeze, freeze)
    if run.tags.get(names.CONTROL) == "true":
        return f"random {title}, {_CONTROLS.get(freeze, freeze)}"
    return f"{title} from scratch"


def arm_names(rows: Sequence[tuple[str, str, dict[str, str], bool]]) -> list[str]:
    """What sentences call each row, no two alike.

    Its arm in words; with the network's name where several pretrained ones are compared; with its settings where rows
    are still alike and that stays short; else a letter, which the page explains.

    Args:
        rows: of each the arm in words, the network's name, the settings that part it from others, and whether it is
            pretrained.
    """
    networks = {title for _, title, _, pretrained in rows if pretrained}
    called = [f"{title}, {arm}" if pretrained and len(networks) > 1 else arm for arm, title, _, pretrained in rows]
    alike = Counter(called)
    full = []
    for name, (_, _, settings, _) in zip(called, rows, strict=True):
        said = ", ".join(in_short(*item) for item in told(settings).items() if item != ("model.weights", "None"))
        full.append(f"{name} ({said})" if said and alike[name] > 1 else name)
    if len(set(full)) == len(full) and max(map(len, full), default=0) <= LONGEST_NAME:
        return full
    return [name if alike[name] == 1 else _letter(place) for place, name in enumerate(called)]


def in_short(key: str, value: str) -> str:
    """A setting with its value, as one would say it."""
    whole = value.removesuffix(".0")
    said = _SAID.get((short(key), whole)) or _SAID.get((short(key), None))
    return said.format(value) if said else f"{short(key)} {value}"


def told(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings without the levers that are not set."""
    return {key: value for key, value in settings.items() if _NO_LEVER.get(key) != value}


def short(key: str) -> str:
    """A parameter's name as labels have it."""
    return key.removeprefix("freeze.phases.")


def distinguishing_settings(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run the parameters its label has to add to the row's name, so that unlike runs have unlike labels.

    The seed and the fold are left out, and what the row's name or another shown parameter tells: of a group (`model`,
    `freeze`, `optimizer`, ...) a key is shown only among runs that share the group's name and yet differ in the key,
    as `model.weights` does among rows of one model (there the rows from random weights carry it).
    """
    configurations = shared_configurations(runs)
    keys = {key for configuration in configurations for key in configuration}
    settings: list[dict[str, str]] = [{} for _ in runs]
    told: list[list[str]] = []
    for key in sorted(keys, key=lambda key: ("." in key and not key.endswith(".name"), key)):
        values = [configuration.get(key, "") for configuration in configurations]
        reference = _reference(key, runs)
        if not any(_repeats(values, other) for other in told):
            alike: dict[str, set[str]] = {}
            for value, shared in zip(values, reference, strict=True):
                alike.setdefault(shared, set()).add(value)
            usual = _usual_weights(runs) if key == "model.weights" else [False] * len(runs)
            for index, value in enumerate(values):
                if value and len(alike[reference[index]]) > 1 and not usual[index]:
                    settings[index][key] = value
        told.append(values)
    for tag, identity in IDENTITIES.items():
        labels = [f"{run.row} {setting}" for run, setting in zip(runs, settings, strict=True)]
        hashes = [identity(run) for run in runs]
        if not _follows(hashes, labels):
            settings = [{**setting, tag: value} for setting, value in zip(settings, hashes, strict=True)]
    return settings


def _reference(key: str, runs: Sequence[Run]) -> list[str]:
    # Runs that share this are expected to share the key's value.
    group, _, rest = key.partition(".")
    if group in ("epochs", "freeze") or key == "model.name":
        return [run.row for run in runs]
    if key == "data.split_seed":
        return [run.params.get("data.folds", "None") for run in runs]
    return [run.params.get(f"{group}.name", "") if rest != "name" else "" for run in runs]


def _usual_weights(runs: Sequence[Run]) -> list[bool]:
    # Where a model has one set of pretrained weights, it is the rows without it that need the remark.
    pretrained = [run.tags.get(names.PRETRAINED) == "true" for run in runs]
    models = [run.params.get("model.name") for run in runs]
    weights: dict[str | None, set[str | None]] = {}
    for run, model, has in zip(runs, models, pretrained, strict=True):
        if has:
            weights.setdefault(model, set()).add(run.params.get("model.weights"))
    return [has and len(weights[model]) == 1 for model, has in zip(models, pretrained, strict=True)]


def _follows(values: Sequence[str], reference: Sequence[str]) -> bool:
    return len(set(zip(reference, values, strict=True))) == len(set(reference))


def _repeats(values: Sequence[str], other: Sequence[str]) -> bool:
    same = all(value in ("", before) for value, before in zip(values, other, strict=True))
    return same and _follows(values, other)


def _letter(place: int) -> str:
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")
