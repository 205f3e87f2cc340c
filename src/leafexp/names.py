"""Metric, tag and artifact names: the contract between what `tracking` writes and what `report` reads.

Units: seconds, shares in [0, 1], epochs counted from 1. A metric that does not apply is absent, never 0 or -1.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

# One value an epoch; the step is the epoch, counted from 1 over all phases of a run.
LOSS = "loss"
ACCURACY = "accuracy"
VAL_LOSS = "val_loss"
VAL_ACCURACY = "val_accuracy"
EPOCH_SECONDS = "epoch_seconds"  # of a phase's first epoch with its frozen prefix and the tracing of graphs
DATA_SECONDS = "data_seconds"  # of these, waiting for photos; those of validation count there
COMPUTE_SECONDS = "compute_seconds"  # of these, training steps
VALIDATION_SECONDS = "validation_seconds"
TIMINGS = (EPOCH_SECONDS, DATA_SECONDS, COMPUTE_SECONDS, VALIDATION_SECONDS)
IMAGES_PER_SECOND = "images_per_second"  # of training, validation not counted
LEARNING_RATE = "learning_rate"
TIMESTAMP = "timestamp"  # when the epoch ended, milliseconds since 1970; MLflow keeps it with each value
EPOCH_METRICS = (LOSS, ACCURACY, VAL_LOSS, VAL_ACCURACY, *TIMINGS, IMAGES_PER_SECOND, LEARNING_RATE)

# One value a run. Parameter counts are those of the last phase.
PARAMS_TOTAL = "params_total"
PARAMS_TRAINABLE = "params_trainable"
PARAMS_NON_TRAINABLE = "params_non_trainable"
TOTAL_SECONDS = "total_seconds"
PREFIX_SECONDS = "prefix_seconds"  # for computing frozen layers once, in this run or in the earlier one it reuses
PREFIX_REUSED_SECONDS = "prefix_reused_seconds"  # of these, spent in an earlier run and so not in total_seconds
PREFIX_VALIDATION_SECONDS = "prefix_validation_seconds"  # of prefix_seconds, for the validation photos
PREFIX_TEST_SECONDS = "prefix_test_seconds"  # for the test photos, after training: in none of the other times
PREFIX_FORWARD_SECONDS = "prefix_forward_seconds"  # one pass of the training photos through the frozen layers
STEADY_COMPUTE_SECONDS = (
    "steady_compute_seconds"  # median of the last phase's epochs after its first; all if it has one
)
PEAK_MEMORY_MB = "peak_memory_mb"  # most resident memory of the process during the run, in 10^6 bytes
BEST_EPOCH = "best_epoch"
BEST_VAL_ACCURACY = "best_val_accuracy"
TEST_ACCURACY = "test_accuracy"
TEST_LOSS = "test_loss"
TEST_MACRO_F1 = "test_macro_f1"
TRAIN_IMAGES = "train_images"
VALIDATION_IMAGES = "validation_images"
TEST_IMAGES = "test_images"
OPTIMIZER_STEPS = "optimizer_steps"
EPOCHS_TRAINED = "epochs_trained"  # fewer than the configuration's where trainer.patience ended the run
EXTERNAL_IMAGES = "external_images"  # of the second test set, data.external
EXTERNAL_ACCURACY = "external_accuracy"
EXTERNAL_MACRO_F1 = "external_macro_f1"  # over the classes that are there
EXTERNAL_EXACT_DUPLICATES = "external_exact_duplicates"  # its photos that equal one of those trained or validated on
EXTERNAL_NEAR_DUPLICATES = "external_near_duplicates"
AUDIT_EXACT_DUPLICATES = "audit_exact_duplicates"  # pairs, wherever they are
AUDIT_NEAR_DUPLICATES = "audit_near_duplicates"
AUDIT_ACROSS_SPLITS = "audit_across_splits"  # of both, those on two sides of the split
AUDIT_GROUPS_ACROSS_SPLITS = "audit_groups_across_splits"
AUDIT_BORDER_ACCURACY = "audit_border_accuracy"  # test accuracy from border pixels alone
AUDIT_FILE_ACCURACY = "audit_file_accuracy"  # test accuracy from size, mode, format and camera alone
AUDIT_THUMBNAIL_ACCURACY = "audit_thumbnail_accuracy"  # test accuracy of the nearest 12 x 12 thumbnail

# Validation accuracy (percent) whose first epoch is recorded; absent where it was not reached.
MILESTONES = (80, 90, 95)


def epochs_to(percent: int) -> str:
    """The metric that holds the first epoch with at least `percent` % validation accuracy."""
    return f"epochs_to_{percent}"


# MLflow's page puts the metrics of a section together, and those without one last: what is looked at most. The table
# gives a section's metrics, or how they begin. Earlier versions had no sections.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "timing": (*TIMINGS, IMAGES_PER_SECOND, TOTAL_SECONDS, "prefix_", STEADY_COMPUTE_SECONDS),
    "phases": (LEARNING_RATE, OPTIMIZER_STEPS, EPOCHS_TRAINED, f"{PARAMS_TRAINABLE}_", f"{PARAMS_NON_TRAINABLE}_"),
    "photos": (TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES),
    "memory": (PEAK_MEMORY_MB,),
    "params": ("params_",),
    "audit": ("audit_",),
    "epochs": ("epochs_to_",),
    "best": ("best_",),
    "test": (TEST_LOSS, TEST_MACRO_F1),
    "external": ("external_",),
}


def in_section(metric: str) -> str:
    """A metric's name in the store: `timing/epoch_seconds`, `audit/border_accuracy`, `loss`."""
    for section, begins in _SECTIONS.items():
        if metric.startswith(begins):
            return f"{section}/{metric.removeprefix(f'{section}_')}"
    return metric


def without_section(name: str) -> str:
    """The metric that a name in the store stands for, with a section or, as of earlier versions, without."""
    section, slash, rest = name.partition("/")
    if not slash or section not in _SECTIONS:
        return name
    return rest if in_section(rest) == name else f"{section}_{rest}"


def takes(metric: str) -> bool:
    """Whether the metric is of time or memory, which no two runs have alike."""
    return in_section(metric).startswith(("timing/", "memory/"))


# Tags.
ROW = "row"  # the row's name in the comparison, for example MobileNetV2_partial
MODEL = "model"
FREEZE = "freeze"
OPTIMIZER = "optimizer"
DATA = "data"
SEED = "seed"
SWEEP = "sweep"  # the commands that asked for this run, in their order, joined by ", "
GIT_COMMIT = "git_commit"
DATA_HASH = "data_hash"
SPLIT_HASH = "split_hash"
TEST_HASH = "test_hash"  # of the test photos: accuracies compare where it is equal
EXTERNAL = "external"  # what the second test set is called
EXTERNAL_HASH = "external_hash"  # of its photos: accuracies there compare where it is equal
WEIGHTS_SOURCE = "weights_source"  # in words: "none (random)", "ImageNet, Keras host", ...
WEIGHTS_SHA256 = "weights_sha256"
LIBRARIES = "libraries"  # the versions of those that compute
ARITHMETIC = "arithmetic"  # what of the machine decides how sums are rounded; earlier versions did not write it
THREADS = "threads"  # that a run computed with; another number rounds sums otherwise
PREFIX_REUSED = "prefix_reused"  # "true": an earlier run had computed frozen layers of this one
PRETRAINED = "pretrained"  # "true" or "false"
CONTROL = "control"  # "true": layers with random weights stay frozen; prices the pretraining
DESCRIPTION = "mlflow.note.content"  # what MLflow's page of the run shows as its description
COMMAND = "command"  # what to type to make this run again
ERROR = "error"  # why a run failed
IDENTITY = "identity"  # SHA-256 of all that decides the run's result
HOST = "host"  # the machine a run is trained on, as it is called
CLAIM = "claim"  # a word of the process that trains the run; who finds another there stops
PROCESS = "process"  # that process: its number, its start, its machine's start, its container and its lock
HEARTBEAT = "heartbeat"  # when that process was last heard of, in seconds since 1970 by its own clock
ASKED = "asked"  # when a command last asked for this run, in seconds since 1970
INTERRUPTIONS = "interruptions"  # how often the run was cut off and taken up again
TRIAL = "trial"  # of which search it is a trial, of which arm, and which one; such a run is never tested
TUNED = "tuned"  # what a search spent on finding the run's settings: "12 trials, 75 epochs"
PAUSED = "SCHEDULED"  # MLflow's status of a run that waits to be gone on with

# Parameters that tell where a run is kept and how its command was called: no part of what was trained. The data's hash
# stands for its path; a second test set changes nothing but what is told of it.
NOT_CONFIGURATION = ("sweep", "rerun", "tracking.", "tuning.", "data.path", "data.audit", "data.external", "cache_gb")

# Artifacts.
TRACEBACK_FILE = "traceback.txt"
CONFIG_FILE = "config.yaml"
LAYERS_FILE = "layers.csv"
PHASES_FILE = "phases.csv"  # phase, epochs, learns, batch_norm, batch_norm_momentum, learning_rate, parameter counts
HISTORY_FILE = "history.csv"
SPLIT_FILE = "split.csv"
SKIPPED_FILE = "skipped_images.csv"
PREDICTIONS_FILE = "predictions.csv"  # path, label, group, predicted, then one probability per class
AUDIT_FILE = "audit.json"  # what the audit of the photos found
WORST_PHOTOS_FILE = "worst_photos.json"  # the test photos whose class got the lowest probability, with the pictures
EXTERNAL_PREDICTIONS_FILE = "external_predictions.csv"  # as those of the test photos
EXTERNAL_WORST_PHOTOS_FILE = "external_worst_photos.json"
EXTERNAL_LABELS_FILE = "external_labels.csv"  # theirs, ours (empty where left out), photos
EXTERNAL_OVERLAP_FILE = "external_overlap.csv"  # its photos that equal ones trained or validated on, with these
EXTERNAL_SKIPPED_FILE = "external_skipped_images.csv"
CONFUSION_FILE = "confusion_matrix.png"
CURVES_FILE = "curves.png"
MODEL_NAME = "best_model"


def folder_name(experiment: str) -> str:
    """The folder of an experiment's reports: its name if that can only be a folder's, else near it and its own."""
    ordinary = re.fullmatch(r"\w[\w .+-]{0,59}", experiment, re.ASCII)
    if ordinary and experiment != "audit" and not re.search(r"[ .]$|-[0-9a-f]{12}$", experiment):
        return experiment
    near = re.sub(r"[^\w.+-]+", "_", experiment[:60], flags=re.ASCII).strip("_.")
    return f"{near or 'experiment'}-{hashlib.sha256(experiment.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def in_phase(metric: str, phase: str) -> str:
    """The metric that holds a parameter count for one phase."""
    return f"{metric}_{phase}"


def row_name(title: str, freeze: str, pretrained: bool) -> str:
    """The row's name in the comparison: the title alone for a model trained whole from scratch, else title_freeze."""
    return title if not pretrained and freeze == "unfrozen" else f"{title}_{freeze}"


def sweeps_of(tag: str) -> list[str]:
    """The names in the tag `sweep`, in the order in which they asked for the run."""
    return [name for name in tag.split(", ") if name]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as MLflow's parameters: one level, with names like data.image_size."""
    params: dict[str, Any] = {}
    for key, value in config.items():
        params |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return params
