"""The figures: drawn from whatever the runs logged, nothing on anything else, the same on the page and on paper."""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from golden import STUDY, study_run
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from leafexp import names
from leafexp.report.evidence.calibration import calibration
from leafexp.report.evidence.classes import recall
from leafexp.report.read.collect import Selection
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, accuracies, make_report
from leafexp.report.rows.predictions import confusion
from leafexp.report.rows.row import Row, make_rows
from leafexp.report.show import canvas, classes, cost, curves, forest, trust
from leafexp.report.show.pictures import write_pictures

ODD = ["$x$ and $\\frac{1}{2}$", "日本語のとても長い名前" * 4, "W" * 44, "ä\u0301\u202e & <b>\x00", "fine-tuned " * 4]


def make(runs: list[Run]) -> Report:
    return make_report(Selection("leafexp", "study", 0, runs, [], []), "")


def three_seeds(**changes: object) -> list[Run]:
    tags = {names.HOST: "one"}
    return [
        study_run(line[0], seed=seed, right=line[6] - 5 * seed, first_wrong=90 * seed, tags=tags, **changes)
        for line in STUDY
        for seed in range(3)
    ]


@cache
def study() -> Report:
    return make(three_seeds())


def figures(report: Report) -> dict[str, Callable[[int], Figure | None]]:
    rows = report.main
    seen = {row: recall(row.outcomes, labels(row)) for row in rows if row.outcomes is not None}
    random = [calibration(*probabilities(place)) for place in range(len(rows))]
    return {
        "accuracies": lambda width: forest.accuracies(rows, report.accuracies, width),
        "differences": lambda width: forest.differences(report.comparisons, width),
        "times": lambda width: forest.times(rows, width),
        "curves": lambda width: curves.accuracy(rows, phases(rows), width),
        "loss": lambda width: curves.loss(rows, width),
        "cost": lambda width: cost.accuracy_against_time(rows, report.accuracies, width),
        "reliability": lambda width: trust.reliability(dict(zip(rows, random, strict=True)), width),
        "answered": lambda width: trust.answered(dict(zip(rows, random, strict=True)), width),
        "recalls": lambda width: classes.recalls(seen, width),
        "confusion": lambda width: (
            None if rows[0].tested is None else classes.confusion(confusion(rows[0].tested), rows[0].name, width)
        ),
    }


def labels(row: Row) -> dict[str, str]:
    assert row.tested is not None
    return dict(zip(row.tested["path"], row.tested["label"], strict=True))


def probabilities(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    found = random.dirichlet([3, 1, 1], 200)
    return found, random.integers(0, 3, 200)


def phases(rows: tuple[Row, ...]) -> dict[str, pd.DataFrame]:
    lines = pd.DataFrame({"phase": ["head", "tune"], "epochs": [2, 8], "learns": ["head", "block_15_expand"]})
    return {row.label: lines for row in rows}


def named(report: Report, called: list[str]) -> Report:
    """The report with other names for its main rows, in its comparisons too."""
    new = {row: replace(row, name=name) for row, name in zip(report.main, called, strict=False)}
    pairs = tuple(replace(item, one=new[item.one], other=new[item.other]) for item in report.comparisons)
    return replace(report, main=tuple(new.values()), rows=tuple(new.values()), comparisons=pairs)


def misplaced(figure: Figure) -> list[str]:
    """Texts that stand out of the figure, or lie on another."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    texts = [*figure.texts]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text().strip()]
    found = [text for text, box in boxes if box.x0 < -2 or box.x1 > width + 2 or box.y0 < -3 or box.y1 > height + 3]
    for (one, box), (other, there) in itertools.combinations(boxes, 2):
        apart = box.x1 - 1 < there.x0 or there.x1 - 1 < box.x0 or box.y1 - 4 < there.y0 or there.y1 - 4 < box.y0
        found += [] if apart else [f"{one} on {other}"]
    return found


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(("width", "called"), [(canvas.WIDE, ODD[:4]), (canvas.NARROW, ODD[1:5])])
def test_no_text_lies_on_another_or_stands_out_whatever_the_names(width: int, called: list[str]) -> None:
    drawn = {name: draw(width) for name, draw in figures(named(study(), called)).items()}
    assert [name for name, figure in drawn.items() if figure is None] == []
    assert {name: found for name, figure in drawn.items() if figure and (found := misplaced(figure))} == {}


def test_without_data_there_is_no_figure() -> None:
    bare = replace(study_run("Simple_CNN", with_predictions=False), curves=pd.DataFrame(), metrics={})
    report = make([bare])
    drawn = {name: draw(canvas.WIDE) for name, draw in figures(replace(report, comparisons=())).items()}
    assert [name for name, figure in drawn.items() if figure and name not in ("reliability", "answered")] == []
    assert canvas.svg(lambda _: None, "none") == ""


def test_of_one_row_there_is_what_one_row_has() -> None:
    report = make([study_run("MobileNetV2_frozen", tags={names.HOST: "one"})])
    drawn = {name for name, draw in figures(report).items() if draw(canvas.NARROW)}
    assert drawn == {
        *("accuracies", "times", "curves", "loss", "reliability", "answered", "recalls", "confusion"),
    }


def test_of_forty_rows_twelve_are_drawn_and_the_rest_is_counted() -> None:
    tags = {names.HOST: "one"}
    rates = [f"{rate:.4f}" for rate in range(1, 40)]
    runs = [
        study_run("MobileNetV2_partial", params={"freeze.phases.tune.learning_rate_factor": rate}, tags=tags,
                  right=1200 + place)
        for place, rate in enumerate(rates)
    ]  # fmt: skip
    rows = make_rows([*runs, study_run("Simple_CNN", tags=tags, right=900)])
    report = replace(study(), main=tuple(rows), accuracies=accuracies(rows), comparisons=())
    assert len(report.main) == 40
    for name, draw in figures(report).items():
        drawn = draw(canvas.NARROW)
        if name == "differences":
            continue
        assert drawn is not None
        assert misplaced(drawn) == [], name
        if name != "confusion":
            assert [text.get_text() for text in drawn.texts if text.get_text().startswith("28 more")], name
        if name == "accuracies":
            assert "CNN from scratch" in str(drawn.get_label()), "the worst arm, but the one from scratch"


def test_the_svg_belongs_to_the_page() -> None:
    drawn = figures(named(study(), ODD[:4]))
    text = "".join(canvas.svg(drawn[name], name) for name in ("accuracies", "times", "curves", "recalls"))
    tree = ElementTree.fromstring(f"<page>{text}</page>")
    ids = [part.attrib["id"] for part in tree.iter() if "id" in part.attrib]
    assert len(ids) == len({*ids})
    assert {*re.findall(r'(?:href="#|url\(#)([^")]+)', text)} <= {*ids}
    assert len(tree) == 8
    for drawing in tree:
        assert drawing.attrib["role"] == "img"
        title = drawing[0]
        assert title.tag == "title"
        assert drawing.attrib["aria-labelledby"] == title.attrib["id"]
        assert title.text
        assert "\x00" not in title.text
    assert not re.search(r"#[0-9a-fA-F]{6}", re.sub(r"<title.*?</title>|<text.*?</text>", "", text))
    assert "font-family" not in text
    assert any((part.text or "") == "$x$ and $\\frac{1}{2}$" for part in tree.iter("text")), "text as text, no formula"
    again = figures(named(study(), ODD[:4]))
    assert canvas.svg(again["times"], "times") in text


def test_pictures_for_paper_show_the_same(tmp_path: Path) -> None:
    written = write_pictures(study(), tmp_path)
    assert [path.name for path, _ in written] == [
        *("accuracies.png", "differences.png", "training_times.png"),
        *("validation_curves.png", "accuracy_against_time.png"),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path, _ in written)
    assert "Head only 93.0 %" in written[0][1]


def test_colour_says_only_what_is_decided() -> None:
    report = study()
    drawn = forest.differences(report.comparisons, canvas.WIDE)
    assert drawn is not None
    told = drawn.get_label()
    decided = {item.verdict.value: item for item in report.comparisons}
    assert decided.keys() <= {"one is more accurate", "other is more accurate", "not decided"}
    assert told.count("?") == sum(item.verdict.value == "not decided" for item in report.comparisons)
    lines = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 2]
    grey = [line for line in lines if line.get_color() == canvas.UNDECIDED]
    assert len(grey) == told.count("?")


@pytest.mark.parametrize(
    ("places", "sizes"), [([5.0, 5.0, 5.0], [10.0] * 3), ([0.0, 99.0], [30.0, 30.0]), ([50.0, 49.0, 3.0], [40.0] * 3)]
)
def test_labels_are_moved_apart_in_their_order(places: list[float], sizes: list[float]) -> None:
    found = canvas.spread(places, sizes, 0, 130)
    order = sorted(range(len(places)), key=lambda index: places[index])
    for one, other in itertools.pairwise(order):
        assert found[other] - found[one] >= (sizes[one] + sizes[other]) / 2 - 1e-9
    assert min(found) >= sizes[0] / 2 - 1e-9
    assert max(found) <= 130 - sizes[0] / 2 + 1e-9


@pytest.mark.parametrize("text", ["", "a", *ODD, "a b " * 30])
def test_texts_are_broken_and_shortened_to_the_room_there_is(text: str) -> None:
    assert all(canvas.text_width(line) <= 60 for line in canvas.wrapped(text, 60))
    assert "".join(canvas.wrapped(text, 60)).replace(" ", "") == canvas.one_line(text).replace(" ", "")
    assert canvas.text_width(canvas.shortened(text, 60)) <= 60 or len(text) <= 1
    assert canvas.shortened(text, math.inf) == canvas.one_line(text)
