"""The table of the study: raw for files, rounded for readers."""

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from leafexp import names
from leafexp.report.rows import EPOCHS_TO_80, Row
from leafexp.report.wording import count, four_digits, share

CONTROL_MARK = " (control)"
# Columns of table.csv that a reader of the printed table sees in the sentences instead.
ONLY_IN_FILE = (
    "optimizer_steps",
    "first_val_accuracy",
    "last_val_accuracy",
    "last_train_minus_val_accuracy",
    "largest_val_accuracy_drop",
    "last_learning_rate",
    "control",
)
OPTIONAL = ("test_accuracy_std", "test_macro_f1", "epochs_to_80")


def make_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The study's seven columns, then what the sentences rest on.

    Raw numbers (seconds, shares in [0, 1], counts), means over the `runs` seeds; missing where a value does not apply:
    `epochs_to_80` of a row that never got there, `test_accuracy_std` of a single seed.
    """
    return pd.DataFrame([_line(row) for row in rows]).convert_dtypes()


def print_table(table: pd.DataFrame, markdown: bool = False) -> str:
    """The table for readers: rounded, controls marked as such, columns that say nothing left out."""
    printers = {
        "avg_epoch_time_sec": four_digits,
        "total_time_sec": four_digits,
        "with_frozen_layers_sec": four_digits,
        "trainable_params": count,
        "non_trainable_params": count,
        "epochs": count,
        "runs": count,
        "epochs_to_80": count,
    }
    hidden = [
        column
        for column in table.columns
        if column in ONLY_IN_FILE or (column in OPTIONAL and table[column].isna().all())
    ]
    if (table["runs"] == 1).all():
        hidden.append("runs")
    if table["with_frozen_layers_sec"].equals(table["total_time_sec"]):
        hidden.append("with_frozen_layers_sec")
    shown = table.drop(columns=hidden).astype(object)
    for column in shown.columns.drop("model"):
        printer = printers.get(column, share)
        shown[column] = ["-" if pd.isna(value) else printer(float(value)) for value in shown[column]]
    intervals = [f"{low} to {high}" for low, high in zip(shown["interval_low"], shown["interval_high"], strict=True)]
    shown.insert(list(shown.columns).index("interval_low"), "95 % interval", intervals)
    shown = shown.drop(columns=["interval_low", "interval_high"])
    shown["model"] = shown["model"].where(~table["control"], shown["model"] + CONTROL_MARK)
    align = ["left"] + ["right"] * (len(shown.columns) - 1)
    return tabulate(
        shown.to_numpy().tolist(),
        headers=list(shown.columns),
        tablefmt="github" if markdown else "simple",
        colalign=align,
        disable_numparse=True,
    )


def _line(row: Row) -> dict[str, object]:
    return {
        "model": row.label,
        "epochs": row.epochs,
        "avg_epoch_time_sec": row.epoch_seconds,
        "total_time_sec": row.mean(names.TOTAL_SECONDS),
        "test_accuracy": row.accuracy,
        "trainable_params": row.trainable,
        "non_trainable_params": row.mean(names.PARAMS_NON_TRAINABLE),
        "with_frozen_layers_sec": row.total_seconds_with_prefix,
        "runs": len(row.runs),
        "test_accuracy_std": row.accuracy_std,
        "test_macro_f1": row.mean(names.TEST_MACRO_F1),
        "interval_low": row.interval[0],
        "interval_high": row.interval[1],
        "epochs_to_80": row.mean(EPOCHS_TO_80),
        "optimizer_steps": row.mean(names.OPTIMIZER_STEPS),
        "first_val_accuracy": row.first_val_accuracy,
        "last_val_accuracy": row.last_val_accuracy,
        "last_train_minus_val_accuracy": row.last_gap,
        "largest_val_accuracy_drop": row.largest_drop,
        "last_learning_rate": row.last_learning_rate,
        "control": row.control,
    }
