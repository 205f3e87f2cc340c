"""What is tracked of a run: what the audit of its photos found, and what came out of its training."""

import json

import keras
import pandas as pd

from leafexp import names
from leafexp.data import audit
from leafexp.data.dataset import Dataset
from leafexp.findings import remarks, sizes
from leafexp.notes import note
from leafexp.tracking import pictures
from leafexp.tracking.machine import peak_memory_mb
from leafexp.tracking.run import TrackedRun
from leafexp.training import evaluation, freeze
from leafexp.training.fit import Fit
from leafexp.wording import counted, duration

_LEARNS = {"head": "the head", "all": "all layers"}


def track(
    run: TrackedRun, row: str, model: keras.Model, fitted: Fit, dataset: Dataset, predictions: pd.DataFrame
) -> None:
    """Track metrics, tables, pictures, the model and a description of a run whose training has ended."""
    last_phase = fitted.phases.iloc[-1]
    trainable, non_trainable = last_phase[names.PARAMS_TRAINABLE], last_phase[names.PARAMS_NON_TRAINABLE]
    reused = fitted.phases[names.PREFIX_REUSED_SECONDS].gt(0).any()
    run.log_tags({names.PREFIX_REUSED: str(reused).lower()})
    scores = evaluation.score(predictions, dataset.classes)
    run.log_results(
        {
            names.PARAMS_TOTAL: trainable + non_trainable,
            names.PARAMS_TRAINABLE: trainable,
            names.PARAMS_NON_TRAINABLE: non_trainable,
            names.TOTAL_SECONDS: fitted.total_seconds,
            names.PREFIX_SECONDS: fitted.phases[names.PREFIX_SECONDS].sum(),
            names.PREFIX_REUSED_SECONDS: fitted.phases[names.PREFIX_REUSED_SECONDS].sum(),
            names.PREFIX_FORWARD_SECONDS: last_phase[names.PREFIX_FORWARD_SECONDS],
            names.STEADY_COMPUTE_SECONDS: fitted.steady_compute_seconds,
            names.PEAK_MEMORY_MB: peak_memory_mb(),
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
    run.describe(_described(fitted, dataset, scores[names.TEST_ACCURACY], len(predictions)))


def _described(fitted: Fit, dataset: Dataset, accuracy: float, tested: int) -> str:
    """What the run was and what it reached, in two sentences."""
    learned = [
        f"{_LEARNS.get(phase['learns'], 'the layers from ' + phase['learns'] + ' on')} learned for "
        f"{counted(phase['epochs'], 'epoch')}"
        for phase in fitted.phases.to_dict("records")
    ]
    images = counted(len(dataset.rows("train")), "photo")
    return (
        f"On {images} of {counted(len(dataset.classes), 'class', 'classes')} {', then '.join(learned)}. "
        f"The best epoch's weights, of epoch {fitted.best_epoch}, are right on {100 * accuracy:.1f} % of "
        f"{counted(tested, 'test photo')}; training took {duration(fitted.total_seconds)}."
    )


def track_audit(run: TrackedRun, dataset: Dataset, policy: str) -> None:
    """Track what the audit of the photos finds; stop where the split leaks, unless the policy is `warn`."""
    found = audit.audit(dataset)
    run.log_text(json.dumps(found, indent=1), names.AUDIT_FILE)
    exact, near = found["exact_duplicates"], found["near_duplicates"]
    run.log_results(
        {
            names.AUDIT_EXACT_DUPLICATES: exact["pairs"],
            names.AUDIT_NEAR_DUPLICATES: near["pairs"],
            names.AUDIT_ACROSS_SPLITS: exact["across_splits"] + near["across_splits"],
            names.AUDIT_GROUPS_ACROSS_SPLITS: found["groups_across_splits"],
            names.AUDIT_BORDER_ACCURACY: found["border_probe"]["accuracy"],
            names.AUDIT_FILE_ACCURACY: found["file_probe"]["accuracy"],
            names.AUDIT_THUMBNAIL_ACCURACY: found["thumbnail_neighbour"]["accuracy"],
        }
    )
    if policy == "error":
        audit.check(found)
    for line in (f"{sizes(found)}.", *remarks(found)):
        note(line)
