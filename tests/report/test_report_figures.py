from itertools import pairwise
from pathlib import Path

import pytest
from golden import study_run, study_runs
from matplotlib.image import imread

from leafexp.report.figures import WITHOUT_LABEL, accuracy_vs_time, draw_figures, spread, validation_curves
from leafexp.report.read.collect import Run
from leafexp.report.rows import make_rows


def test_figures_are_1000_pixels_wide(tmp_path: Path) -> None:
    files = draw_figures(make_rows(study_runs()), tmp_path)
    assert [file.name for file in files] == ["validation_curves.png", "accuracy_vs_time.png"]
    assert {imread(file).shape[1] for file in files} == {1000}


def test_controls_are_dashed_and_named() -> None:
    figure = validation_curves(make_rows([*study_runs(), study_run("Simple_CNN", row="C", control=True)]))
    assert figure is not None
    axes = figure.axes[0]
    assert [line.get_linestyle() for line in axes.lines[:5]] == ["-"] * 4 + ["--"]
    assert "C (control)" in [text.get_text() for text in axes.texts]


def test_a_row_has_one_colour_in_both_figures() -> None:
    rows = make_rows(study_runs())
    figures = [validation_curves(rows), accuracy_vs_time(rows)]
    colours = [{text.get_text(): text.get_color() for text in figure.axes[0].texts} for figure in figures if figure]
    assert colours[0] == colours[1] and len(set(colours[0].values())) == 4


def test_of_many_rows_the_most_accurate_are_labelled_and_the_others_grey(tmp_path: Path) -> None:
    rates = [f"0.{number:03}" for number in range(1, 41)]
    settings = [({"optimizer.learning_rate": rate}, 1300 + place) for place, rate in enumerate(rates)]
    rows = make_rows([study_run("MobileNetV2_frozen", params=params, right=right) for params, right in settings])
    for figure in (validation_curves(rows), accuracy_vs_time(rows)):
        assert figure is not None
        axes = figure.axes[0]
        labels = sorted(text.get_text().split("=")[1].rstrip(")") for text in axes.texts)
        assert 8 <= len(labels) < 20 and labels == rates[-len(labels) :]
        assert axes.get_title("right") == f"grey: {40 - len(labels)} rows more, in table.csv"
        assert sum(line.get_color() == WITHOUT_LABEL for line in axes.lines) == 40 - len(labels)
    assert len(draw_figures(rows, tmp_path)) == 2


def test_time_is_logarithmic_only_over_a_wide_range() -> None:
    wide, narrow = accuracy_vs_time(make_rows(study_runs())), accuracy_vs_time(make_rows(study_runs()[1:]))
    assert wide is not None and wide.axes[0].get_xscale() == "log"
    assert narrow is not None and narrow.axes[0].get_xscale() == "linear"


def test_no_figure_without_data(tmp_path: Path) -> None:
    run = study_run("Simple_CNN")
    bare = Run(run.run_id, run.name, run.status, run.started, run.tags, run.params, {})
    assert draw_figures(make_rows([bare]), tmp_path) == []


@pytest.mark.parametrize("heights", [[0.5, 0.5, 0.5], [1.0, 0.99, 0.0], [0.01, 0.0], [0.5] * 40])
def test_labels_do_not_overlap(heights: list[float]) -> None:
    placed = sorted(spread(heights, [0.1] * len(heights)))
    gap = min(0.1, 1 / len(heights))
    assert all(after - before >= gap - 1e-9 for before, after in pairwise(placed))
    assert placed[0] >= gap / 2 - 1e-9 and placed[-1] <= 1 - gap / 2 + 1e-9
