"""Names are shown as they are: in Markdown, CSV, LaTeX, pages and figures; none is run, rendered or breaks a table."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from golden import study_run, study_runs

from leafexp import names
from leafexp.report.read.collect import Selection
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, make_report
from leafexp.report.rows.row import make_rows
from leafexp.report.say.words import Code, in_markdown, markdown, say
from leafexp.report.show.page import make_page
from leafexp.report.show.pictures import write_pictures
from leafexp.report.show.render import in_full
from leafexp.report.show.table import arms_of, as_csv, as_latex, raw_table
from leafexp.report.show.terminal import on_terminal

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
    """The run, its row, its freeze strategy and one of its classes with the name."""
    assert run.predictions is not None
    predictions = run.predictions.replace({"label": {"leaf": name}, "predicted": {"leaf": name}})
    return replace(run, tags={**run.tags, names.ROW: name, names.FREEZE: name}, predictions=predictions)


@pytest.fixture(scope="module", params=NASTY)
def report(request: pytest.FixtureRequest) -> tuple[str, Report]:
    runs = [
        run
        for seed in range(3)
        for run in (
            renamed(study_run("MobileNetV2_frozen", seed=seed), request.param),
            study_run("Simple_CNN", seed=seed),
        )
    ]
    return request.param, make_report(Selection(request.param, request.param, 0, runs, [], [request.param]), "")


def test_markdown(report: tuple[str, Report]) -> None:
    name, made = report
    text = in_full(made, [])
    assert not re.search(r"<\w", text)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 1
    for table in tables:  # as many cells in each line
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    shown = re.sub(r"\\([^a-z\s])", r"\1", text)
    for code, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        shown = shown.replace(code, letter)
    assert name in shown
    lines = [line for line, seen in zip(text.splitlines(), shown.splitlines(), strict=True) if name in seen]
    assert lines
    assert not [line for line in lines if re.search(r"(?<!\\)[`\[\]$<]", line)]


def test_html_shows_the_name(report: tuple[str, Report]) -> None:
    name, made = report
    page = re.sub(r"<script.*?</script>", "", make_page(made, "mlflow.db"), flags=re.DOTALL)
    page = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    assert "<img src=x" not in page
    assert 'href="javascript' not in page
    text = re.sub(r"<[^>]+>", "", page)
    for code, letter in (("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")):
        text = text.replace(code, letter)
    assert name in text


def test_figures_and_latex(report: tuple[str, Report], tmp_path: Path) -> None:
    _, made = report
    assert len(write_pictures(made, tmp_path)) == 3
    line = next(line for line in as_latex(arms_of(made)).splitlines() if "164,742" in line)
    cell = re.sub(r"\\(textbackslash|ensuremath|textless|textgreater)", "", line.partition(" & ")[0])
    assert not re.search(r"(?<!\\)[#$%&_^~]", cell), cell


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_is_a_formula(begin: str) -> None:
    table = raw_table(make_rows([renamed(study_run("Simple_CNN"), f"{begin}1+1")]), {})
    table["difference"] = -0.5
    first, second = as_csv(table).split("\n", 1)
    assert second.startswith((f"'{begin}1+1", f"\"'{begin}1+1"))
    assert second.strip().endswith("-0.5")  # a number is no formula
    assert not first.startswith("'")


def test_sentences_keep_commands_and_numbers_as_they_are() -> None:
    command = "python -m leafexp.train -m data.path='/a|<b>'"
    assert markdown(say("this would tell: ", Code(command), ".")) == f"This would tell: `{command}`."
    assert markdown(say(Code("a `b` c"))) == "`` a `b` c ``"
    assert markdown(say("Simple_CNN 0.9730, -0.5 to 1.2 points.")) == "Simple_CNN 0.9730, -0.5 to 1.2 points."
    assert [markdown(say(text)) for text in ("1. one", "- one", "+ x")] == ["1\\. one", "\\- one", "\\+ x"]
    assert in_markdown("a `name` or x_y _z_") == "a \\`name\\` or x_y \\_z\\_"


def test_the_text_has_no_control_characters() -> None:
    run = renamed(study_run("MobileNetV2_frozen"), "a\x1b[31m\u202eb\nc")
    report = make_report(Selection("leafexp", "study", 0, [run, *study_runs()[:1]], [], []), "")
    for text in (on_terminal(report), in_full(report, [])):
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert "a [31m b c" in on_terminal(report)
