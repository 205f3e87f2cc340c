"""What is tracked of a run: what the audit of its photos found, and what came out of its training."""

import json
from collections.abc import Sequence

import keras
import pandas as pd

from leafexp import names
from leafexp.arithmetic import arithmetic
from leafexp.audit import probes
from leafexp.audit.findings import remarks, sizes
from leafexp.data.dataset import Dataset
from leafexp.errors import UserError
from leafexp.models.pretrained import Source
from leafexp.notes import note
from leafexp.tracking import pictures
from leafexp.tracking.machine import peak_memory_mb
from leafexp.tracking.run import TrackedRun
from leafexp.training import evaluation, freeze
from leafexp.training.fit import Fit
from leafexp.training.phases import PlannedPhase
from leafexp.wording import counted, duration

_LEARNS = {"head": "the head learns", "all": "all layers learn"}


def track(
    run: TrackedRun,
    row: str,
    model: keras.Model,
    fitted: Fit,
    dataset: Dataset,
    predictions: pd.DataFrame,
    intention: str,
) -> float:
    """Track metrics, tables, pictures, the model and what came of the `intention` of a run whose training has ended.

    Returns:
        The test accuracy, in [0, 1].
    """
    last_phase = fitted.phases.iloc[-1]
    trainable, non_trainable = last_phase[names.PARAMS_TRAINABLE], last_phase[names.PARAMS_NON_TRAINABLE]
    reused = fitted.phases[names.PREFIX_REUSED_SECONDS].gt(0).any()
    run.log_tags({names.PREFIX_REUSED: str(reused).lower(), names.ARITHMETIC: ", ".join(arithmetic())})
    scores = evaluation.score(predictions, dataset.classes)
    run.log_results(
        {
            names.PARAMS_TOTAL: trainable + non_trainable,
            names.PARAMS_TRAINABLE: trainable,
            names.PARAMS_NON_TRAINABLE: non_trainable,
            names.TOTAL_SECONDS: fitted.total_seconds,
            names.PREFIX_SECONDS: fitted.phases[names.PREFIX_SECONDS].sum(),
            names.PREFIX_VALIDATION_SECONDS: fitted.phases[names.PREFIX_VALIDATION_SECONDS].sum(),
            names.PREFIX_TEST_SECONDS: fitted.test_prefix_seconds,
            names.PREFIX_REUSED_SECONDS: fitted.phases[names.PREFIX_REUSED_SECONDS].sum(),
            names.PREFIX_FORWARD_SECONDS: last_phase[names.PREFIX_FORWARD_SECONDS],
            names.STEADY_COMPUTE_SECONDS: fitted.steady_compute_seconds,
            names.PEAK_MEMORY_MB: peak_memory_mb(),
            names.EPOCHS_TRAINED: len(fitted.history),
            names.BEST_EPOCH: fitted.best_epoch,
            names.BEST_VAL_ACCURACY: fitted.history[names.VAL_ACCURACY].max(),
            **scores,
            **evaluation.milestones(fitted.history),
            **{
                names.in_phase(metric, phase["phase"]): phase[metric]
                for phase in fitted.phases.to_dict("records")
                for metric in (names.PARAMS_TRAINABLE, names.PARAMS_NON_TRAINABLE)
            },
        }
    )
    run.log_tables(
        {
            names.LAYERS_FILE: pd.DataFrame(freeze.layer_table(model)),
            names.PHASES_FILE: fitted.phases,
            names.HISTORY_FILE: fitted.history,
            names.PREDICTIONS_FILE: predictions,
        }
    )
    worst = pictures.worst_photos(predictions, dataset.classes, dataset.pixels, dataset.rows("test"))
    run.log_text(worst, names.WORST_PHOTOS_FILE)
    run.log_picture(pictures.confusion_matrix(predictions, dataset.classes, row), names.CONFUSION_FILE)
    run.log_picture(pictures.curves(fitted.history, fitted.best_epoch, row), names.CURVES_FILE)
    example = dataset.pixels[dataset.rows("test")[:1]]
    probabilities = evaluation.probabilities(predictions, dataset.classes)[:1]
    run.log_model(model, example, probabilities, dataset.classes)
    accuracy = scores[names.TEST_ACCURACY]
    ended = f"ended after epoch {len(fitted.history)} and took" if fitted.stopped_early else "took"
    reached = (
        f"It is right on {100 * accuracy:.1f} % of {counted(len(predictions), 'test photo')}, with the weights of "
        f"epoch {fitted.best_epoch}; training {ended} {duration(fitted.total_seconds)}."
    )
    run.describe(f"{intention} {reached}", instead_of=intention)
    return accuracy


def intention(title: str, source: Source | None, planned: Sequence[PlannedPhase], dataset: Dataset) -> str:
    """What a run is to train, in a sentence: network, weights, photos, and what learns for how long."""
    photos = f"{counted(len(dataset.rows('train')), 'photo')} of {counted(len(dataset.classes), 'class', 'classes')}"
    if dataset.views > 1:
        photos += f", shown in {dataset.views} views"
    learns = [
        f"{_LEARNS.get(phase.phase.learns, f'the layers from {phase.phase.learns} on learn')} for "
        f"{counted(phase.epochs, 'epoch')}{'' if phase.patience is None else ' at most'}"
        for phase in planned
    ]
    weights = f"pretrained weights ({source.description})" if source else "random weights"
    return f"This run trains {title} from {weights} on {photos}: {', then '.join(learns)}."


def track_audit(run: TrackedRun, dataset: Dataset, policy: str) -> dict[str, float]:
    """Track what the audit of the photos finds; stop where the split leaks, unless the policy is `warn`.

    Returns:
        What it found, and the numbers of photos, as metrics.
    """
    found = probes.audit(dataset)
    run.log_text(json.dumps(found, indent=1), names.AUDIT_FILE)
    exact, near = found["exact_duplicates"], found["near_duplicates"]
    metrics = {
        names.TRAIN_IMAGES: len(dataset.rows("train")),
        names.VALIDATION_IMAGES: len(dataset.rows("validation")),
        names.TEST_IMAGES: len(dataset.rows("test")),
        names.AUDIT_EXACT_DUPLICATES: exact["pairs"],
        names.AUDIT_NEAR_DUPLICATES: near["pairs"],
        names.AUDIT_ACROSS_SPLITS: exact["across_splits"] + near["across_splits"],
        names.AUDIT_GROUPS_ACROSS_SPLITS: found["groups_across_splits"],
        names.AUDIT_BORDER_ACCURACY: found["border_probe"]["accuracy"],
        names.AUDIT_FILE_ACCURACY: found["file_probe"]["accuracy"],
        names.AUDIT_THUMBNAIL_ACCURACY: found["thumbnail_neighbour"]["accuracy"],
    }
    if policy == "error":
        try:
            probes.check(found)
        except UserError:
            run.log_results(metrics)
            raise
    for line in (f"{sizes(found)}.", *remarks(found)):
        note(line)
    return metrics
