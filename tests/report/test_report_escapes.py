"""Names are shown as they are: in Markdown, CSV, LaTeX, pages and figures; none is run, rendered or breaks a table."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from golden import study_run, study_runs
from leafexp.report.content import Report, make_report
from leafexp.report.render import as_csv, as_markdown, as_text
from leafexp.report.table import make_table, print_table
from leafexp.report.wording import in_markdown

from leafexp import names
from leafexp.report.figures import draw_figures
from leafexp.report.page import make_page
from leafexp.report.read.collect import Run, Selection
from leafexp.report.rows import make_rows

NASTY = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "`rm -rf /`",
    "[click](javascript:alert(1))",
    "=HYPERLINK(1)",
    "$\\frac{1}$",
    "# **bold** _it_",
    "&lt;b&gt;",
]


def renamed(run: Run, name: str) -> Run:
    """The run, its row and one of its classes with the name."""
    assert run.predictions is not None
    predictions = run.predictions.replace({"label": {"leaf": name}, "predicted": {"leaf": name}})
    return replace(run, tags={**run.tags, names.ROW: name}, predictions=predictions)


@pytest.fixture(scope="module", params=NASTY)
def report(request: pytest.FixtureRequest) -> tuple[str, Report]:
    runs = [renamed(study_run("Simple_CNN"), request.param), study_run("MobileNetV2_frozen")]
    return request.param, make_report(Selection(request.param, request.param, 0, runs, [], [request.param]))


def test_markdown(report: tuple[str, Report]) -> None:
    name, made = report
    text = as_markdown(made, [])
    assert not re.search(r"<\w", text)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 3
    for table in tables:  # as many cells in each line
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    shown = re.sub(r"\\([^a-z\s])", r"\1", text)
    for code, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        shown = shown.replace(code, letter)
    assert f"# Report of {name}\n" in shown and f"- {name}: " in shown
    title = text.partition("\n")[0].removeprefix("# Report of ")
    assert not re.search(r"(?<!\\)[|`\[\]$*<]", title)


def test_html_shows_the_name(report: tuple[str, Report]) -> None:
    name, made = report
    page = re.sub(r"<script.*?</script>", "", make_page(made, "mlflow.db"), flags=re.DOTALL)
    assert "<img" not in page and 'href="javascript' not in page
    text = re.sub(r"<[^>]+>", "", page)
    for code, letter in (("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")):
        text = text.replace(code, letter)
    assert f"\n{name}: " in text


def test_figures_and_latex(report: tuple[str, Report], tmp_path: Path) -> None:
    _, made = report
    assert len(draw_figures(made.rows, tmp_path)) == 2
    line = next(
        line for line in print_table(made.table, "latex_booktabs").splitlines() if "2,280" in line or "2280" in line
    )
    cell = re.sub(r"\\(textbackslash|ensuremath|textless|textgreater)", "", line.partition(" & ")[0])
    assert not re.search(r"(?<!\\)[#$%&_^~]", cell), cell


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_is_a_formula(begin: str) -> None:
    table = make_table(make_rows([renamed(study_run("Simple_CNN"), f"{begin}1+1")]))
    table["difference"] = -0.5
    first, second = as_csv(table).split("\n", 1)
    assert second.startswith((f"'{begin}1+1", f"\"'{begin}1+1"))
    assert second.strip().endswith("-0.5")  # a number is no formula
    assert not first.startswith("'")


def test_sentences_keep_commands_and_numbers_as_they_are() -> None:
    for same in (
        "Simple_CNN 0.9730, -0.5 to 1.2 points.",
        "`python -m leafexp.train -m data.path='/a|<b>'`",
        "`group`",
    ):
        assert in_markdown(same) == same
    assert in_markdown("1. one") == "1\\. one" and in_markdown("- one") == "\\- one" and in_markdown("+ x") == "\\+ x"
    assert in_markdown("a `name` or `x y`") == "a `name` or \\`x y\\`"


def test_the_text_has_no_control_characters() -> None:
    run = renamed(study_run("Simple_CNN"), "a\x1b[31m\u202eb\nc")
    report = make_report(Selection("leafexp", "study", 0, [run, *study_runs()[1:]], [], []))
    for text in (as_text(report), as_markdown(report, [])):
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert isinstance(report.table, pd.DataFrame) and "a [31m bc" not in as_text(report)
