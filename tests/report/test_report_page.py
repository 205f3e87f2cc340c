"""The page: one file, true to the table, harmless with any name, whole in a browser."""

import base64
import html
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import CLASSES, STUDY, study_run
from PIL import Image

from leafexp import names
from leafexp.report.read.collect import Selection
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, make_report
from leafexp.report.say.words import plain
from leafexp.report.show.page import _run_link, make_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<script>alert('x')</script>"


def tracked(run: Run, folder: Path) -> Run:
    """The run with probabilities, and the artifacts of an audited one in a folder."""
    assert run.predictions is not None
    right = run.predictions["label"] == run.predictions["predicted"]
    of_label = np.where(right, 0.9, 0.1) - np.arange(len(right)) * 1e-6
    of_others = (1 - of_label) / (len(CLASSES) - 1)
    predictions = run.predictions.assign(
        label=[EVIL if label == "leaf" else label for label in run.predictions["label"]],
        predicted=[EVIL if label == "leaf" else label for label in run.predictions["predicted"]],
    )
    for name in (EVIL, *CLASSES[1:]):
        predictions[f"probability_{name}"] = np.where(predictions["label"] == name, of_label, of_others)
    jpeg = io.BytesIO()
    Image.new("RGB", (32, 32), "green").save(jpeg, "JPEG")
    photo = {
        "label": EVIL,
        "predicted": "blight",
        "probability": 0.1,
        "jpeg": base64.b64encode(jpeg.getvalue()).decode(),
    }
    artifacts = folder / run.run_id
    artifacts.mkdir()
    worst = [{"path": path, **photo} for path in predictions["path"][~right]]
    (artifacts / names.WORST_PHOTOS_FILE).write_text(json.dumps(worst))
    return replace(run, predictions=predictions, artifact_uri=artifacts.as_uri(), experiment_id="7")


def findings() -> dict[str, Any]:
    """What an audit found: a copy in two parts of the split, and a telling border."""
    pair = {"kind": "near", "path": EVIL, "label": "leaf", "split": "test"}
    pair |= {"other_path": "b.jpg", "other_label": "leaf", "other_split": "train"}
    return {
        "photos": 7595,
        "classes": {EVIL: 7595},
        "exact_duplicates": {"pairs": 0, "other_label": 0, "across_splits": 0},
        "near_duplicates": {"pairs": 1, "other_label": 0, "across_splits": 1},
        "groups_across_splits": 0,
        **{"sizes": {"256x256": 7595}, "modes": {"RGB": 7595}, "formats": {"JPEG": 7595}, "rotated": 0},
        "border_probe": {"accuracy": 0.625, "low": 0.58, "high": 0.66, "chance": 0.19},
        "pairs": [pair],
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("page")
    parts = {names.DATA_SECONDS: 0.25, names.COMPUTE_SECONDS: 9.0, names.VALIDATION_SECONDS: 0.75}
    tags = {names.HOST: "one", names.COMMAND: "python -m leafexp.train -m model=cnn,mnv2"}
    runs = [
        tracked(
            study_run(line[0], seed=seed, right=line[6] - 5 * seed, more_curves=parts, tags=tags,
                      first_wrong=90 * seed + 40 * number), folder
        )
        for number, line in enumerate(STUDY)
        for seed in range(3)
    ]  # fmt: skip
    (folder / runs[3].run_id / names.PHASES_FILE).write_text(
        "phase,epochs,learns,learning_rate_factor\nhead,2,head,1.0\ntune,8,block_15_expand,0.1\n"
    )
    report = make_report(Selection("leafexp", "study", 0, runs, [], [], findings()), "")
    file = folder / "report.html"
    file.write_text(make_page(report, "sqlite:///mlflow.db"), encoding="utf-8")
    return file, report


def test_the_page_needs_nothing_else_and_runs_no_foreign_script(page: tuple[Path, Report]) -> None:
    text = page[0].read_text(encoding="utf-8")
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?https?:""", text)
    assert not re.search(r"url\((?!#)|@import", text)
    links = {link for link in re.findall(r'href="([^"#][^"]*)"', text)}
    assert links == {
        "data:,",
        *(f"http://127.0.0.1:5000/#/experiments/7/runs/{run.run_id}" for run in page[1].selection.finished),
    }
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text
    assert len(text) < 1e6


def test_the_page_says_all_that_the_report_says(page: tuple[Path, Report]) -> None:
    file, report = page
    text = re.sub(r"<(script|style).*?</\1>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))
    said = [report.answers[0][1].title, *report.answers[0][1].said]
    said += [caveat.sentence for caveat in report.caveats]
    said += [question.lead for question in report.questions]
    said += [sentence for question in report.questions for point in question.points for sentence in point.said]
    for sentence in said:
        assert re.sub(r"\s+", " ", plain(sentence)) in text, sentence
    for row in report.rows:
        assert f"{100 * row.accuracy:.1f} %" in text


def test_a_link_to_a_run_has_no_login() -> None:
    run = replace(study_run("Simple_CNN"), experiment_id="7")
    for address in ("http://alice:s3cr3t@host:5000/", "http://s3cr3t@host:5000", "http://host:5000"):
        assert _run_link(run, address) == f"http://host:5000/#/experiments/7/runs/{run.run_id}"


def test_pictures_and_audit_are_there(page: tuple[Path, Report]) -> None:
    text = page[0].read_text(encoding="utf-8")
    assert 0 < text.count("data:image/jpeg;base64,") <= 24
    assert "test accuracy 0.6250 (95 % interval 0.5800 to 0.6600, chance 0.1900)" in text
    first = text[: text.index('<section id="q1"')]
    assert "1 pair of nearly equal photos lies on two sides of the split" in first
    assert "2 epochs only the head at 0.001, then 8 epochs from block_15_expand on at 0.001" in re.sub(
        r"</text>\s*<text[^>]*>", " ", text
    )
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert not re.search(r"(fill|stroke): ?#", text), "a colour that dark mode does not turn"
    bare = make_report(Selection("leafexp", "study", 0, [study_run("Simple_CNN", with_predictions=False)], [], []), "")
    plainer = make_page(bare, "http://me:s3cr3t@server:5000/")
    assert "These runs carry no audit" in plainer
    assert "http://server:5000/#/experiments/" in plainer
    assert "mlflow ui" not in plainer
    assert "s3cr3t" not in plainer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options, selenium.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


# The texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, success criterion 1.4.3).
CONTRAST = """
const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = colour => {
  const [red, green, blue] = colour.match(/[\\d.]+/g).map(value => channel(Number(value)));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = element => {
  const colour = getComputedStyle(element).backgroundColor;
  return /, 0\\)$|transparent/.test(colour) ? behind(element.parentElement) : colour;
};
const faint = new Set();
const kinds = "p, li, h1, h2, h3, a, td, th, dt, dd, summary, small, b, code, button, select, output, label, svg text";
for (const element of document.querySelectorAll(kinds)) {
  const style = getComputedStyle(element);
  const pair = [light(element.namespaceURI.endsWith("svg") ? style.fill : style.color), light(behind(element))];
  if (element.textContent.trim() && (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5)
    faint.add(element.textContent.trim().slice(0, 40));
}
return [...faint];
"""
# The texts of figures that are smaller than 11 px, that stand out of their figure, or that lie on one another.
MISPLACED = """
const found = [];
for (const drawing of document.querySelectorAll("svg")) {
  const frame = drawing.getBoundingClientRect();
  if (!frame.width) continue;
  const texts = [...drawing.querySelectorAll("text")].map(each => [each, each.getBoundingClientRect()]);
  texts.forEach(([text, box], place) => {
    const size = parseFloat(getComputedStyle(text).fontSize) * frame.width / drawing.viewBox.baseVal.width;
    const out = box.left < frame.left - 2 || box.right > frame.right + 2
      || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
    const on = texts.slice(place + 1).some(([, other]) => box.left < other.right - 1 && other.left < box.right - 1
      && box.top < other.bottom - 4 && other.top < box.bottom - 4);
    if (size < 10.99 || out || on) found.push([text.textContent, size, out, on]);
  });
}
return found;
"""
# Words outside of folded details, but for the labels in figures.
WORDS = """
const count = text => (text.match(/\\S+/g) || []).length;
const labels = [...document.querySelectorAll("svg text")].filter(each => each.getBoundingClientRect().width);
return count(document.body.innerText) - labels.reduce((sum, each) => sum + count(each.textContent), 0);
"""
DRAWN = """
return [...document.querySelectorAll("figure.drawn")].map(figure => {
  const shown = [...figure.querySelectorAll("svg")].filter(each => each.getBoundingClientRect().width > 200);
  return [figure.id, shown.length, shown.length ? shown[0].querySelectorAll("path, use").length : 0];
});
"""


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="needs chromium and chromedriver")
@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, False), (800, True), (1280, False), (1280, True)])
def test_the_page_in_a_browser(page: tuple[Path, Report], browser: Any, width: int, dark: bool) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(page[0].as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    words = "return (document.getElementById('{}').innerText.match(/\\S+/g) || []).length"
    assert browser.execute_script(words.format("answer")) < 150
    outside = browser.execute_script(WORDS)
    assert outside < 1200, "words outside of folded details"
    first = browser.execute_script("return document.getElementById('cards').getBoundingClientRect().bottom")
    assert first <= {360: 2.3, 390: 2.1, 800: 1.25, 1280: 1}[width] * 800
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = browser.execute_script(DRAWN)
    assert [name for name, *_ in drawn] == [
        *("accuracies", "differences", "times", "curves", "cost", "loss"),
        *("recalls", "classes", "confusion-0", "confusion-1", "reliability", "answered"),
    ]
    assert [name for name, shown, parts in drawn if shown != 1 or parts < 3] == []
    assert browser.execute_script(MISPLACED) == []
    assert browser.execute_script(CONTRAST) == []


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="needs chromium and chromedriver")
def test_the_page_answers_to_clicks(page: tuple[Path, Report], browser: Any) -> None:
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page[0].as_uri())
    broken = browser.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1))"
        ".filter(place => !document.getElementById(place))"
    )
    assert broken == []
    made = browser.find_element("id", "made")
    assert made.get_attribute("open") is None
    browser.find_element("css selector", ".lede a.row").click()
    assert made.get_attribute("open") is not None, "a link opens what it leads to"
    browser.find_element("css selector", "#table summary").click()
    shares = "return [...document.querySelectorAll('#table tbody tr')].map(row => parseFloat(row.cells[1].innerText))"
    head = browser.find_elements("css selector", "#table thead button")[1]
    head.click()
    assert browser.execute_script(shares) == sorted(browser.execute_script(shares), reverse=True)
    head.click()
    assert browser.execute_script(shares) == sorted(browser.execute_script(shares))
    browser.find_element("css selector", "#disagree summary").click()
    shown = "return [...document.querySelectorAll('.gallery figure')].filter(each => each.offsetWidth).length"
    every = browser.execute_script(shown)
    select = browser.find_elements("css selector", ".filters select")
    row = browser.find_elements("css selector", ".filters select[name=right] option")[1].get_attribute("value")
    counts = []
    for right, wrong in ((row, ""), ("", row), (row, row)):
        for box, value in ((select[1], right), (select[2], wrong)):
            browser.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
                box,
                value,
            )
        counts.append(browser.execute_script(shown))
    assert counts[0] + counts[1] == every
    assert counts[2] == 0
    assert browser.find_element("css selector", ".filters output").text == "0 photos"
    assert browser.get_log("browser") == []
