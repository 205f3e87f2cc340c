"""Photos from elsewhere: the headline, the intervals, and what is said of their limits."""

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden import CLASSES, STUDY, study_run
from PIL import Image
from test_report_folds import folded_runs

from leafexp import names
from leafexp.report.evidence.intervals import accuracy
from leafexp.report.read.collect import Selection, collect
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, make_report
from leafexp.report.say.words import plain
from leafexp.report.show.page import make_page
from leafexp.report.show.render import as_json
from leafexp.report.show.table import raw_table
from leafexp.report.show.terminal import on_terminal, sweep_table

PHOTOS, LEAVES = 240, 60
RIGHT = {"Simple_CNN": 0.4, "MobileNetV2_frozen": 0.55, "MobileNetV2_unfrozen": 0.62, "MobileNetV2_partial": 0.5}


def predictions(share: float, seed: int, there: Sequence[str] = CLASSES[:2]) -> pd.DataFrame:
    """What a network says of the photos, four a leaf, of the classes that are there."""
    random = np.random.default_rng([seed, int(1000 * share)])
    label = np.array(there)[np.arange(PHOTOS) // 4 % len(there)]
    right = random.random(PHOTOS) < share
    predicted = np.where(right, label, np.where(label == CLASSES[0], CLASSES[2], CLASSES[0]))
    table = pd.DataFrame(
        {
            "path": [f"f/{photo:03d}.jpg" for photo in range(PHOTOS)],
            "label": label,
            "group": [f"f/{photo // 4}" for photo in range(PHOTOS)],
            "predicted": predicted,
        }
    )
    return table.join(pd.DataFrame({f"probability_{name}": (predicted == name) * 0.8 + 0.1 for name in CLASSES}))


def with_external(
    run: Run, folder: Path, said: pd.DataFrame, name: str = "field", photos: str = "f" * 64, copies: int = 0
) -> Run:
    """The run with what `leafexp.train` tracks of a second test set."""
    artifacts = folder / f"{run.run_id}-{photos[:1]}"
    artifacts.mkdir()
    said.to_csv(artifacts / names.EXTERNAL_PREDICTIONS_FILE, index=False)
    jpeg = io.BytesIO()
    Image.new("RGB", (32, 32), "green").save(jpeg, "JPEG")
    wrong = said["path"][said["label"] != said["predicted"]]
    worst = [{"path": path, "jpeg": base64.b64encode(jpeg.getvalue()).decode()} for path in wrong]
    (artifacts / names.EXTERNAL_WORST_PHOTOS_FILE).write_text(json.dumps(worst))
    reached = float((said["label"] == said["predicted"]).mean())
    metrics = {names.EXTERNAL_ACCURACY: reached, names.EXTERNAL_MACRO_F1: 0.5, names.EXTERNAL_IMAGES: len(said)}
    metrics |= {names.EXTERNAL_EXACT_DUPLICATES: copies, names.EXTERNAL_NEAR_DUPLICATES: 0}
    tags = {names.EXTERNAL: name, names.EXTERNAL_HASH: photos}
    return replace(
        run,
        metrics={**run.metrics, **metrics},
        tags={**run.tags, **tags},
        params={**run.params, "data.external": f"photos/{name}", "data.external_labels": "None"},
        external=said,
        artifact_uri=artifacts.as_uri(),
    )


def study(folder: Path, seeds: int = 3, copies: int = 0) -> list[Run]:
    return [
        with_external(
            study_run(line[0], seed=seed, right=line[6] - seed),
            folder,
            predictions(RIGHT[line[0]], seed),
            copies=copies,
        )
        for line in STUDY
        for seed in range(seeds)
    ]


def report_of(runs: list[Run]) -> Report:
    return make_report(Selection("leafexp", "study", 0, runs, [], []), "")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(study(tmp_path_factory.mktemp("elsewhere"), copies=3))


def shares_there(label: str) -> tuple[float, float, float]:
    """Accuracy and interval, as the formula gives them from the predictions alone."""
    seeds = range(3)
    tables = [predictions(RIGHT[label], seed) for seed in seeds]
    right = np.array([(table["label"] == table["predicted"]).to_numpy(float) for table in tables])
    found = accuracy(right, np.arange(PHOTOS) // 4)
    return found.value, found.low, found.high


def test_the_headline_sets_photos_from_elsewhere_against_the_own_test(report: Report) -> None:
    best, other = report.answers[0][1].best
    said = " ".join(map(plain, report.elsewhere))
    value, low, high = shares_there(best.label)
    ends = f"95 % interval {100 * low:.0f} to {100 * high:.0f}"
    assert said.startswith(
        f"On photos from elsewhere (field) {best.name} is right {100 * value:.0f} times in 100 ({ends}), against "
        f"{100 * best.accuracy:.0f} times on its own test photos."
    )
    value, low, high = shares_there(other.label)
    ends = f"{100 * low:.0f} to {100 * high:.0f}"
    assert f"is right {100 * value:.0f} times there ({ends}), against {100 * other.accuracy:.0f}." in said


def test_every_form_of_the_report_has_the_same_figures(report: Report) -> None:
    page = re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", "", re.sub(r"<(style|script)>.*?</\1>", "", make_page(report, ""), flags=re.S))
    )
    (written,) = json.loads(as_json(report, raw_table(report.rows, report.accuracies)))["externals"]
    assert (written["name"], written["overlap"], written["absent_classes"]) == ("field", 3, ["rust"])
    assert len(written["arms"]) == len(STUDY)
    for arm in written["arms"]:
        expected = shares_there(arm["model"])
        assert [arm["accuracy"], *(arm["estimate"][end] for end in ("value", "low", "high"))] == pytest.approx(
            [expected[0], *expected]
        )
        value, low, high = (f"{100 * share:.1f}" for share in expected)
        gap = f"{100 * (arm['accuracy'] - arm['own_accuracy']):.1f}".replace("-", "−")
        assert f"{value} %{low} to {high}{100 * arm['own_accuracy']:.1f} %{gap}3" in page
    for sentence in report.elsewhere:
        assert plain(sentence) in page
        assert plain(sentence) in " ".join(on_terminal(report).split())
    assert "On photos from elsewhere (field): " in sweep_table(report.selection.finished)
    assert "What went wrong there: " in page
    assert 0 < make_page(report, "").count("data:image/jpeg;base64,") <= 24


def test_what_limits_the_figures_is_said(report: Report) -> None:
    caveats = [plain(caveat.sentence) for caveat in report.caveats]
    said = "3 photos from elsewhere (field) equal or nearly equal one that was trained or validated on, so the accuracy"
    assert any(line.startswith(said) for line in caveats)
    assert any(line.startswith("No photo from elsewhere (field) shows rust") for line in caveats)


def test_other_photos_are_another_test_and_networks_without_them_are_named(tmp_path: Path) -> None:
    runs = study(tmp_path)
    here, there = predictions(0.9, 0, CLASSES), predictions(0.2, 1, CLASSES)
    cnn = [run for run in runs if run.row == "Simple_CNN"]
    changed = [
        with_external(cnn[1], tmp_path, here, photos="a" * 64),
        with_external(cnn[2], tmp_path, there, photos="b" * 64, name="greenhouse"),
    ]
    plain_runs = [study_run("MobileNetV2_partial", seed=seed) for seed in range(3)]
    kept = [run for run in runs if run.row not in ("Simple_CNN", "MobileNetV2_partial")]
    found = {it.photos[:1]: it for it in report_of([*kept, cnn[0], *changed, *plain_runs]).externals}
    assert {key: it.name for key, it in found.items()} == {
        "f": "field, ffffffff",
        "a": "field, aaaaaaaa",
        "b": "greenhouse",
    }
    reached = {key: {row.label: len(row.runs) for row in it.rows} for key, it in found.items()}
    assert reached["f"] == {"MobileNetV2_unfrozen": 3, "MobileNetV2_frozen": 3, "Simple_CNN": 1}
    assert reached["a"] == reached["b"] == {"Simple_CNN": 1}
    (row,) = found["a"].rows
    assert row.accuracy == (here["label"] == here["predicted"]).mean()
    assert found["a"].own == {"Simple_CNN": cnn[1].metrics[names.TEST_ACCURACY]}
    caveats = [plain(item.sentence) for item in report_of([*kept, *cnn, *plain_runs]).caveats]
    assert "Not tested on photos from elsewhere (field): top fine-tuned." in caveats


def test_photos_on_which_only_older_runs_were_tested_are_named(track: Callable[..., tuple[Path, str]]) -> None:
    tags = {names.EXTERNAL: "field", names.EXTERNAL_HASH: "f" * 64}
    store, experiment = track([study_run("Simple_CNN", started=1, tags=tags), study_run("Simple_CNN", started=2)])
    selection = collect(f"sqlite:///{store}", experiment, "all")
    assert len(selection.finished) == 1
    assert "Only older runs were tested on these photos from elsewhere: field." in selection.notes


def test_the_own_test_says_the_same_with_and_without_photos_from_elsewhere(report: Report) -> None:
    without = report_of([study_run(line[0], seed=seed, right=line[6] - seed) for line in STUDY for seed in range(3)])
    assert without.externals == () and without.elsewhere == []
    assert [plain(item[1].title) for item in without.answers] == [plain(item[1].title) for item in report.answers]
    assert [item.estimate for item in without.comparisons] == [item.estimate for item in report.comparisons]
    assert "photos from elsewhere (field)" not in make_page(without, "").casefold()


def test_predictions_that_do_not_give_the_accuracy_that_was_logged_have_no_interval(tmp_path: Path) -> None:
    runs = study(tmp_path, seeds=1)
    broken = replace(runs[0], metrics={**runs[0].metrics, names.EXTERNAL_ACCURACY: 0.99})
    (found,) = report_of([broken, *runs[1:]]).externals
    assert set(RIGHT) - set(found.accuracies) == {broken.row}
    assert plain(report_of([broken, *runs[1:]]).elsewhere[-1]).endswith("is right 99 times there, against 90.")


def test_with_folds_each_network_is_tested_on_all_photos_from_elsewhere(tmp_path: Path) -> None:
    runs = [
        with_external(run, tmp_path, predictions(RIGHT[run.row], place), copies=5 + int(run.fold))
        for place, run in enumerate(folded_runs())
    ]
    report = report_of(runs)
    (found,) = report.externals
    assert len(found.rows) == 4
    for row in found.rows:
        seen = found.accuracies[row.label]
        assert (seen.networks, seen.predictions, seen.leaves) == (15, 15 * PHOTOS, LEAVES)
        assert row.accuracy == pytest.approx(seen.value)
        (own,) = [it for it in report.rows if it.label == row.label]
        assert found.own[row.label] == pytest.approx(own.accuracy)
    # A fold's networks did not learn from its own photos, so no network need have learned from all that are there.
    begin = "Up to 9 photos from elsewhere (field) equal or nearly equal one that a network was trained or validated on"
    assert any(plain(caveat.sentence).startswith(begin) for caveat in report.caveats)
    page = make_page(report, "")
    assert "Marks: mean of 15 networks. Lines: 95 % interval, for new leaves, seeds and partitions." in page
    assert "What went wrong there: " in page


def test_one_network_on_photos_from_elsewhere_says_nothing_of_new_seeds(tmp_path: Path) -> None:
    page = make_page(report_of(study(tmp_path, seeds=1)), "")
    figure = page[page.index('id="elsewhere-0"') :]
    assert "with these weights" in figure[: figure.index("</figure>")]
    assert "new seeds" not in figure[: figure.index("</figure>")]


def test_two_second_test_sets_have_sections_of_their_own(tmp_path: Path) -> None:
    runs = study(tmp_path, seeds=1)
    other = [with_external(run, tmp_path, predictions(0.3, 5), "barn", "b" * 64) for run in runs[:2]]
    page = make_page(report_of([*other, *runs[2:]]), "")
    ids = re.findall(r'(?<= )id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
