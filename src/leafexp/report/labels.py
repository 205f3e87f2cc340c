"""What parts one run from another, in words short enough for a label."""

from collections.abc import Callable, Sequence

from leafexp import names
from leafexp.report.collect import Run

# What parts runs whose configuration is the same.
IDENTITIES: dict[str, Callable[[Run], str]] = {
    names.DATA_HASH: lambda run: run.photos if run.photos.startswith("unknown") else run.photos[:8],
    names.WEIGHTS_SHA256: lambda run: run.tags.get(names.WEIGHTS_SHA256, "")[:8],
}


def distinguishing_settings(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run the parameters its label has to add to the row's name, so that unlike runs have unlike labels.

    The seed is left out, and what the row's name or another shown parameter tells: of a group (`model`, `freeze`,
    `optimizer`, ...) a key is shown only among runs that share the group's name and yet differ in the key, as
    `model.weights` does among rows of one model (there the rows from random weights carry it).
    """
    configurations = [run.configuration for run in runs]
    keys = sorted({key for configuration in configurations for key in configuration} - {"seed"})
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
