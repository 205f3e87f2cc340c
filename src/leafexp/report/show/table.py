"""The tables: raw for files, rounded for readers."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.evidence.intervals import Estimate
from leafexp.report.report import Report
from leafexp.report.rows import timing
from leafexp.report.rows.learning import at_epoch, epochs, largest_drop, loss_rise, milestone, seconds_to
from leafexp.report.rows.row import Row
from leafexp.report.say.words import in_markdown, percent
from leafexp.wording import count, duration, one_line

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


def raw_table(rows: Sequence[Row], accuracies: Mapping[str, Estimate]) -> pd.DataFrame:
    """The study's seven columns, then what the report rests on; a line a row.

    Raw numbers (seconds, shares in [0, 1], counts), means over the `runs` networks; missing where a value does not
    apply or is not known.
    """
    return pd.DataFrame([_line(row, accuracies.get(row.label)) for row in rows]).convert_dtypes()


def arms_table(rows: Sequence[Row], accuracies: Mapping[str, Estimate]) -> pd.DataFrame:
    """What a reader asks of each arm, as texts: accuracy with its 95 % interval, training time, weights that learn."""
    lines = []
    for row in rows:
        found = accuracies.get(row.label)
        lines.append(
            {
                "arm": row.name,
                "accuracy": percent(row.accuracy),
                "95 % interval": f"{100 * found.low:.1f} to {100 * found.high:.1f}" if found else "-",
                "time": duration(timing.total(row).mean),
                "weights that learn": count(row.trainable),
            }
        )
    return pd.DataFrame(lines)


def pairs_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Every planned comparison, raw: accuracy of `one` minus that of `other` with its simultaneous interval."""
    return pd.DataFrame([_pair(item) for item in comparisons])


def as_csv(table: pd.DataFrame) -> str:
    """A raw table; ten digits, so that sums of seconds do not end in 0.0000001.

    A text that a spreadsheet would take for a formula has an apostrophe before it (OWASP, CSV Injection).
    """
    shown = table.map(lambda value: f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value)
    return str(shown.to_csv(index=False, float_format="%.10g"))


def as_markdown(frame: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    escaped = frame.map(in_markdown).set_axis(list(map(in_markdown, frame.columns)), axis=1)
    return _laid_out(escaped, "github")


def as_latex(frame: pd.DataFrame) -> str:
    """A table of texts in LaTeX, with booktabs."""
    return _laid_out(frame.map(one_line), "latex_booktabs") + "\n"


def as_text(frame: pd.DataFrame) -> str:
    """A table of texts for a terminal."""
    return _laid_out(frame.map(one_line), "plain")


def arms_of(report: Report) -> pd.DataFrame:
    """The arms of the report as texts."""
    return arms_table(report.rows, report.accuracies)


def _laid_out(frame: pd.DataFrame, style: str) -> str:
    return tabulate(
        frame.to_numpy().tolist(),
        headers=list(frame.columns),
        tablefmt=style,
        colalign=["left"] + ["right"] * (len(frame.columns) - 1),
        disable_numparse=True,
    )


def _line(row: Row, found: Estimate | None) -> dict[str, object]:
    accuracies = pd.Series([run.metrics.get(names.TEST_ACCURACY) for run in row.runs], dtype=float)
    return {
        "model": row.label,
        "epochs": epochs(row),
        "avg_epoch_time_sec": timing.logged_epoch(row),
        "total_time_sec": row.mean(names.TOTAL_SECONDS),
        "test_accuracy": row.accuracy,
        "trainable_params": row.trainable,
        "non_trainable_params": row.mean(names.PARAMS_NON_TRAINABLE),
        "with_frozen_layers_sec": timing.total(row).mean,
        "runs": len(row.runs),
        "test_accuracy_low": found.low if found else None,
        "test_accuracy_high": found.high if found else None,
        "test_accuracy_std": accuracies.std(),
        "test_macro_f1": row.mean(names.TEST_MACRO_F1),
        **{f"epochs_to_{percent}": _finite(milestone(row, percent).epoch) for percent in names.MILESTONES},
        **{f"minutes_to_{percent}": _finite(seconds_to(row, percent) / 60) for percent in names.MILESTONES},
        "optimizer_steps": row.mean(names.OPTIMIZER_STEPS),
        "first_val_accuracy": at_epoch(row, names.VAL_ACCURACY, 0),
        "last_val_accuracy": at_epoch(row, names.VAL_ACCURACY, -1),
        "best_val_accuracy": row.best_val_accuracy,
        "last_train_minus_val_accuracy": at_epoch(row, names.ACCURACY, -1) - at_epoch(row, names.VAL_ACCURACY, -1),
        "largest_val_accuracy_drop": largest_drop(row),
        "last_val_loss_rise": loss_rise(row),
        "last_learning_rate": at_epoch(row, names.LEARNING_RATE, -1),
        "control": row.control,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _pair(item: Comparison) -> dict[str, object]:
    found = item.estimate
    return {
        "one": item.one.label,
        "other": item.other.label,
        "kind": item.kind,
        "verdict": item.verdict.value,
        "difference": found.value if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "p": found.p if found else None,
        "comparisons": found.comparisons if found else None,
        "leaves": found.leaves if found else None,
        "networks": item.networks,
    }
