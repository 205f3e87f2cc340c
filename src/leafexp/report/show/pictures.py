"""The main figures as PNG, for Markdown and papers."""

from pathlib import Path

from leafexp.report.report import Report
from leafexp.report.show import canvas, cost, curves, forest
from leafexp.report.show.canvas import WIDE


def write_pictures(report: Report, folder: Path) -> list[tuple[Path, str]]:
    """Write the figures that have something in them; their files, and what each shows in words."""
    rows = report.main
    drawn = {
        "accuracies.png": forest.accuracies(rows, report.accuracies, WIDE),
        "differences.png": forest.differences(report.planned, WIDE),
        "training_times.png": forest.times(rows, WIDE),
        "validation_curves.png": curves.accuracy(rows, report.phases, WIDE),
        "accuracy_against_time.png": cost.accuracy_against_time(rows, report.accuracies, WIDE),
    }
    written = []
    for name, figure in drawn.items():
        if figure is not None:
            canvas.save(figure, folder / name)
            written.append((folder / name, str(figure.get_label())))
    return written
