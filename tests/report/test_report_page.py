"""The page: one file, true to the table, harmless with any name, whole in a browser."""

import base64
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
from leafexp.report.collect import Run, Selection
from leafexp.report.content import make_report
from leafexp.report.page import _run_link, make_page
from leafexp.report.table import shown_table

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
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("page")
    parts = {names.DATA_SECONDS: 0.25, names.COMPUTE_SECONDS: 9.0, names.VALIDATION_SECONDS: 0.75}
    runs = [
        tracked(study_run(line[0], seed=seed, right=line[6] - 5 * seed, more_curves=parts), folder)
        for line in STUDY
        for seed in range(3)
    ]
    report = make_report(Selection("leafexp", "study", 0, runs, [], [], findings()))
    file = folder / "report.html"
    file.write_text(make_page(report, "sqlite:///mlflow.db"), encoding="utf-8")
    return file, report


def test_the_page_needs_nothing_else_and_runs_no_foreign_script(page: tuple[Path, Any]) -> None:
    text = page[0].read_text(encoding="utf-8")
    own = re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?https?:""", own)
    assert {link for link in re.findall(r'href="([^"#][^"]*)"', own)} == {
        "data:,",
        *(f"http://127.0.0.1:5000/#/experiments/7/runs/{run.run_id}" for run in page[1].selection.finished),
    }
    assert EVIL not in own and "&lt;script&gt;alert" in own
    assert len(text) < 12e6


def test_the_page_has_the_table_s_figures_and_all_sentences(page: tuple[Path, Any]) -> None:
    file, report = page
    text = re.sub(r"<script.*?</script>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    expected = shown_table(report.table)
    first = text[text.index("<table") : text.index("</table>")]
    lines = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>.*?</tr>", first)]
    cells = [[re.sub(r"<[^>]+>", "", cell) for cell in line] for line in lines]
    assert cells == [list(expected.columns), *expected.to_numpy().tolist()]
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)).replace("&#39;", "'").replace("&lt;", "<")
    plain = plain.replace("&gt;", ">").replace("&#x27;", "'")
    for answer in report.answers:
        for sentence in answer.sentences:
            assert sentence.replace("`", "") in plain, sentence
    for line in report.headline:
        assert line in plain
    assert "MobileNetV2_unfrozen</a> is more accurate than <a href" in text


def test_a_link_to_a_run_has_no_login() -> None:
    run = replace(study_run("Simple_CNN"), experiment_id="7")
    for address in ("http://alice:s3cr3t@host:5000/", "http://s3cr3t@host:5000", "http://host:5000"):
        assert _run_link(run, address) == f"http://host:5000/#/experiments/7/runs/{run.run_id}"


def test_pictures_and_audit_are_there(page: tuple[Path, Any]) -> None:
    text = page[0].read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 12
    assert "test accuracy 0.6250 (95 % interval 0.5800 to 0.6600, chance 0.1900)" in text
    weak = text[text.index('<h2 id="limits">') : text.index('<h2 id="q1">')]
    warning = '<p class="warning">1 pair of nearly equal photos is on two sides of the split: the test is easier'
    assert warning in text[: text.index("<nav")]
    assert "The borders alone tell the class of 62.5%" in weak
    assert "1 pair of equal or nearly equal photos" in text
    bare = make_report(Selection("leafexp", "study", 0, [study_run("Simple_CNN", with_predictions=False)], [], []))
    plain = make_page(bare, "http://server:5000/")
    assert "These runs carry no audit" in plain and "logged no probabilities" in plain
    assert "http://server:5000/#/experiments/" in plain and "mlflow ui" not in plain


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


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="needs chromium and chromedriver")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(page: tuple[Path, Any], browser: Any, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(page[0].as_uri())
    assert browser.get_log("browser") == []
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.plotly-graph-div')].map("
        "figure => figure.querySelectorAll('.main-svg .trace, .main-svg .hm, .main-svg .heatmaplayer image').length)"
    )
    assert len(drawn) == 5 + 4 and all(drawn)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    broken = browser.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1))"
        ".filter(place => !document.getElementById(place))"
    )
    assert broken == []
    accuracies = (
        "return [...document.querySelectorAll('table tbody tr')].slice(0, 4).map(row => row.cells[4].innerText)"
    )
    head = browser.find_elements("css selector", "table thead button")[4]
    assert head.text == "test_accuracy"
    head.click()
    assert browser.execute_script(accuracies) == sorted(browser.execute_script(accuracies), reverse=True)
    head.click()
    assert browser.execute_script(accuracies) == sorted(browser.execute_script(accuracies))
    assert browser.get_log("browser") == []
