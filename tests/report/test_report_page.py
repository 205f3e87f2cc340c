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
from leafexp.report.read.collect import Run, Selection
from leafexp.report.report import Report, make_report
from leafexp.report.say.words import plain
from leafexp.report.show.page import make_page

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
    (folder / runs[0].run_id / names.PHASES_FILE).write_text(
        "phase,epochs,learns,learning_rate\nhead,2,head,0.001\ntune,8,all,0.0001\n"
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


def test_pictures_and_audit_are_there(page: tuple[Path, Report]) -> None:
    text = page[0].read_text(encoding="utf-8")
    assert 0 < text.count("data:image/jpeg;base64,") <= 24
    assert "test accuracy 0.6250 (95 % interval 0.5800 to 0.6600, chance 0.1900)" in text
    first = text[: text.index('<section id="q1">')]
    assert "1 pair of nearly equal photos lies on two sides of the split" in first
    assert "all layers, 8 epochs, rate 0.0001" in text or "phases" not in text
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
for (const element of document.querySelectorAll("p, li, h1, h2, h3, h4, td, th, dt, dd, summary, b, code, svg text")) {
  const style = getComputedStyle(element);
  const pair = [light(element.namespaceURI.endsWith("svg") ? style.fill : style.color), light(behind(element))];
  if (element.textContent.trim() && (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5)
    faint.add(element.textContent.trim().slice(0, 40));
}
return [...faint];
"""


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="needs chromium and chromedriver")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (800, True), (1280, False), (1280, True)])
def test_the_page_in_a_browser(page: tuple[Path, Report], browser: Any, width: int, dark: bool) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(page[0].as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    broken = browser.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1))"
        ".filter(place => !document.getElementById(place))"
    )
    assert broken == []
    words = "return (document.getElementById('{}').innerText.match(/\\S+/g) || []).length"
    assert browser.execute_script(words.format("answer")) < 150
    outside = browser.execute_script("return document.body.innerText.match(/\\S+/g).length")
    assert outside < 1200, "words outside of folded details"
    first = browser.execute_script("return document.getElementById('cards').getBoundingClientRect().bottom")
    assert first <= {390: 2.6, 800: 2.2, 1280: 1.25}[width] * 800
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('svg')].filter(each => each.getBoundingClientRect().width > 0)"
        ".map(each => each.querySelectorAll('path').length)"
    )
    assert len(drawn) == 6
    assert min(drawn) > 3
    small = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].filter(each => each.getBoundingClientRect().height > 0)"
        ".filter(each => each.getBoundingClientRect().height < 11).map(each => each.textContent)"
    )
    assert small == []
    assert browser.execute_script(CONTRAST) == []
    shares = "return [...document.querySelectorAll('#table tbody tr')].map(row => parseFloat(row.cells[1].innerText))"
    head = browser.find_elements("css selector", "#table thead button")[1]
    head.click()
    assert browser.execute_script(shares) == sorted(browser.execute_script(shares), reverse=True)
    head.click()
    assert browser.execute_script(shares) == sorted(browser.execute_script(shares))
    assert browser.get_log("browser") == []
