"""The table of the study: raw for files, rounded for readers."""

import math
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from leafexp import names
from leafexp.report.comparisons import Comparisons
from leafexp.report.rows import Row
from leafexp.report.wording import count, four_digits, p_value, points, share

CONTROL_MARK = " (control)"
# Columns of table.csv that a reader of the printed table sees in the sentences instead.
ONLY_IN_FILE = (
    *(f"epochs_to_{percent}" for percent in names.MILESTONES[1:]),
    *(f"minutes_to_{percent}" for percent in names.MILESTONES),
    "last_val_loss_rise",
    "optimizer_steps",
    "first_val_accuracy",
    "last_val_accuracy",
    "last_train_minus_val_accuracy",
    "largest_val_accuracy_drop",
    "last_learning_rate",
    "control",
)
OPTIONAL = ("test_accuracy_std", "test_macro_f1", "epochs_to_80", "seeds_low", "seeds_high", "both_low", "both_high")
INTERVALS = {
    "interval": "95 % over photos",
    "seeds": "95 % over seeds",
    "both": "95 % over leaves and seeds",
}
PRINTERS = {
    "avg_epoch_time_sec": four_digits,
    "total_time_sec": four_digits,
    "with_frozen_layers_sec": four_digits,
    "trainable_params": count,
    "non_trainable_params": count,
    "epochs": count,
    "runs": count,
    "epochs_to_80": count,
}


def make_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The study's seven columns, then what the sentences rest on.

    Raw numbers (seconds, shares in [0, 1], counts), means over the `runs` seeds; missing where a value does not apply:
    `epochs_to_80` of a row that never got there, `test_accuracy_std` of a single seed.
    """
    return pd.DataFrame([_line(row) for row in rows]).convert_dtypes()


def print_table(table: pd.DataFrame, style: str = "simple") -> str:
    """The table for readers, as `shown_table` has it."""
    return print_frame(shown_table(table), style)


def print_frame(frame: pd.DataFrame, style: str = "simple") -> str:
    """A table of texts, the first column to the left, the others to the right, in a style of tabulate's."""
    return tabulate(
        frame.to_numpy().tolist(),
        headers=list(frame.columns),
        tablefmt=style,
        colalign=["left"] + ["right"] * (len(frame.columns) - 1),
        disable_numparse=True,
    )


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts: rounded, controls marked as such, columns that say nothing left out."""
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
        shown[column] = [
            "-" if pd.isna(value) else PRINTERS.get(column, share)(float(value)) for value in shown[column]
        ]
    for prefix, title in INTERVALS.items():
        low, high = f"{prefix}_low", f"{prefix}_high"
        if low in shown:
            texts = [
                f"{one} to {other}" if one != "-" else "-" for one, other in zip(shown[low], shown[high], strict=True)
            ]
            shown.insert(list(shown.columns).index(low), title, texts)
            shown = shown.drop(columns=[low, high])
    if "runs" in hidden:
        shown = shown.rename(columns={INTERVALS["both"]: "95 % over leaves"})
    shown["model"] = shown["model"].where(~table["control"], shown["model"] + CONTROL_MARK)
    return shown


def pairs_table(comparisons: Comparisons) -> pd.DataFrame:
    """Every comparison: the rows, the difference (a share) with its interval, discordant photos, p, seeds, verdict."""
    return pd.DataFrame(
        [
            {
                "better": item.better.name,
                "worse": item.worse.name,
                "difference": item.difference,
                "low": item.interval[0],
                "high": item.interval[1],
                "interval_over": "leaves and seeds" if item.over_seeds else "leaves",
                "better_only": item.better_only,
                "worse_only": item.worse_only,
                "p_mcnemar_holm": item.p,
                "seeds_ahead": sum(value > 0 for value in item.seed_differences),
                "seeds": len(item.seed_differences),
                "p_sign_flip": item.p_seeds,
                "photos_needed": item.photos_needed,
                "told_apart": item.told_apart,
            }
            for item in sorted(comparisons.values(), key=lambda item: -item.difference)
        ]
    )


def shown_pairs(comparisons: Comparisons) -> pd.DataFrame:
    """The comparisons as texts."""
    lines = []
    for item in sorted(comparisons.values(), key=lambda item: -item.difference):
        tested = item.p is not None
        seeds = len(item.seed_differences)
        lines.append(
            {
                "more accurate": item.better.name,
                "less accurate": item.worse.name,
                "points": points(item.difference, unit=""),
                "95 % interval": " to ".join(points(end, unit="") for end in item.interval) if tested else "-",
                "discordant": f"{count(item.better_only)}:{count(item.worse_only)}" if tested else "-",
                "p (Holm)": p_value(item.p).removeprefix("p ").removeprefix("= ") if item.p is not None else "-",
                "seeds ahead": f"{sum(value > 0 for value in item.seed_differences)} of {seeds}" if seeds > 1 else "-",
                "told apart": "yes" if item.told_apart else "no",
            }
        )
    return pd.DataFrame(lines)


def shown_recall(rows: Sequence[Row]) -> pd.DataFrame:
    """Recall of each class by row: the share of its test photos that is recognised, a mean over seeds."""
    known = [row for row in rows if not row.recall.empty]
    classes = list(dict.fromkeys(label for row in known for label in row.recall.index))
    lines = [
        {
            "model": row.name + (CONTROL_MARK if row.control else ""),
            **{label: share(row.recall.get(label, math.nan)) for label in classes},
        }
        for row in known
    ]
    return pd.DataFrame(lines)


def shown_matched(matched: pd.DataFrame) -> pd.DataFrame:
    """The matched view as texts."""
    shown = matched.astype(object)
    for column in shown.columns.drop("model"):
        shown[column] = ["-" if pd.isna(value) else share(float(value)) for value in matched[column]]
    return shown


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
        "seeds_low": row.interval_over_seeds[0],
        "seeds_high": row.interval_over_seeds[1],
        "both_low": row.interval_over_both[0],
        "both_high": row.interval_over_both[1],
        "epochs_to_80": row.mean(names.epochs_to(80)),
        **{f"epochs_to_{percent}": row.mean(names.epochs_to(percent)) for percent in names.MILESTONES[1:]},
        **{f"minutes_to_{percent}": row.minutes_to(percent) for percent in names.MILESTONES},
        "optimizer_steps": row.mean(names.OPTIMIZER_STEPS),
        "first_val_accuracy": row.first_val_accuracy,
        "last_val_accuracy": row.last_val_accuracy,
        "last_train_minus_val_accuracy": row.last_gap,
        "largest_val_accuracy_drop": row.largest_drop,
        "last_val_loss_rise": row.val_loss_rise,
        "last_learning_rate": row.last_learning_rate,
        "control": row.control,
    }
