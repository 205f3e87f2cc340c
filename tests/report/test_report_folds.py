"""Folds in the report: every photo once a seed, whole replicates only, and what the intervals then hold for."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden import study_run
from simulated import ARMS, Design, right

from leafexp import names
from leafexp.errors import UserError
from leafexp.report.evidence.comparisons import Verdict, compare
from leafexp.report.read.collect import Selection, collect, configurations_tried
from leafexp.report.read.replicates import whole_replicates
from leafexp.report.read.runs import Run
from leafexp.report.report import Report, make_report
from leafexp.report.rows.row import groups_to_compare, make_rows
from leafexp.report.say.answer import holds_for
from leafexp.report.say.commands import would_tell
from leafexp.report.say.words import plain, text_of
from leafexp.report.show.gallery import disagreements
from leafexp.report.show.page import make_page
from leafexp.report.show.terminal import on_terminal, sweep_table

DESIGN = Design(leaves=60, seeds=3, folds=5, arms=4, clustering="weak", ahead=0.06, network_effect=0.005)


def folded_runs(design: Design = DESIGN, split_seed: int | None = None, **params: str) -> list[Run]:
    """A run for each arm, seed and fold, with the predictions of the photos of its fold."""
    tested = right(design, 1, np.random.default_rng(4))[0]
    leaves = design.leaf_of
    photos = pd.DataFrame(
        {"path": [f"{n:05d}.jpg" for n in range(len(leaves))], "label": np.where(leaves % 2, "a", "b")}
    )
    photos["group"] = leaves.astype(str)
    runs = []
    for arm, values in zip(ARMS, tested, strict=False):
        for number, column in enumerate(values):
            seed, fold = divmod(number, design.folds)
            mine = photos[np.isfinite(column)]
            wrong = mine["label"].map({"a": "b", "b": "a"})
            predictions = mine.assign(predicted=mine["label"].where(column[np.isfinite(column)] == 1, wrong))
            partition = str(seed if split_seed is None else split_seed)
            own = {"data.folds": str(design.folds), "data.fold": str(fold), "data.split_seed": partition, **params}
            hashes = {names.TEST_HASH: f"test {partition} {fold}", names.HOST: "here"}
            run = study_run(arm, seed=seed, started=1000 + len(runs), params=own, epochs=10, val_accuracy=[0.9] * 10,
                            split_hash=f"{partition}{fold}", tags=hashes)  # fmt: skip
            counted = {names.TEST_ACCURACY: float(np.nanmean(column)), names.TEST_IMAGES: float(len(mine))}
            runs.append(replace(run, predictions=predictions, metrics={**run.metrics, **counted}))
    return runs


def report_of(runs: list[Run], **more: Any) -> Report:
    finished, incomplete = whole_replicates(runs)
    return make_report(Selection("leafexp", "study", 0, finished, [], [], incomplete=incomplete, **more), "")


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(folded_runs())


def test_an_arm_is_one_row_that_predicts_each_photo_once_a_seed(report: Report) -> None:
    assert len(report.rows) == 4
    for row in report.rows:
        assert (len(row.runs), row.folds, len(row.seeds), row.partitions) == (15, 5, 3, 3)
        found = report.accuracies[row.label]
        assert (found.predictions, found.networks, found.leaves) == (3 * 240, 15, 60)
        assert found.value == pytest.approx(row.accuracy)
        assert row.outcomes is not None
        assert (np.isfinite(row.outcomes.right).sum(axis=0) == 3).all()
    assert {item.networks for item in report.comparisons} == {15}
    assert sweep_table(report.selection.finished).count("5 times as long") == 1
    assert len(sweep_table(report.selection.finished).splitlines()) == 1 + 4 + 1
    _, disagreed = disagreements(report.main, "")
    assert disagreed > 0
    assert configurations_tried(report.selection.finished).total() == 4


def test_a_row_over_folds_of_unequal_size_is_the_share_of_all_photos() -> None:
    runs = folded_runs(replace(DESIGN, leaves=58, arms=1))
    (row,) = make_rows(runs)
    sizes = {run.metrics[names.TEST_IMAGES] for run in runs}
    assert len(sizes) > 1
    assert row.outcomes is not None
    assert row.accuracy == pytest.approx(float(np.nanmean(row.outcomes.right)))


def test_what_is_said_holds_for_new_leaves_seeds_and_partitions(report: Report) -> None:
    screen = on_terminal(report)
    assert screen.startswith("plantvillage6: 60 networks, 5 folds, 3 seeds\n")
    assert "for new leaves, seeds and partitions" in screen.replace("\n", " ")
    assert "Times are of one network; to test every photo takes 5 times as long." in screen
    assert len(screen.splitlines()) <= 27
    text = html.unescape(re.sub(r"<[^>]*>", "", make_page(report, "")))
    assert "Lines: 95 % interval, for new leaves, seeds and partitions." in text
    for untrue in ("this split", "nother split", "same 240", "same 60"):
        assert untrue not in screen + text
    assert "seed 2, fold 4" in text


def test_one_seed_of_folds_carries_a_verdict_and_is_said_to_be_one() -> None:
    one = report_of([run for run in folded_runs() if run.params["seed"] == "0"])
    assert {item.networks for item in one.comparisons} == {5}
    assert Verdict.TOO_FEW not in {item.verdict for item in one.comparisons}
    assert any("one seed and one partition" in plain(caveat.sentence) for caveat in one.caveats)


def test_a_replicate_that_lacks_a_fold_is_named_and_not_used() -> None:
    runs = folded_runs()
    lost = [run for run in runs if (run.row, run.params["seed"], run.fold) == ("Simple_CNN", "1", "3")]
    found = report_of([run for run in runs if run not in lost])
    networks = {row.runs[0].row: len(row.runs) for row in found.rows}
    assert networks == {**dict.fromkeys(ARMS, 15), "Simple_CNN": 10}
    for item in found.comparisons:
        with_it = "Simple_CNN" in (item.one.runs[0].row, item.other.runs[0].row)
        assert item.networks == (10 if with_it else 15)
        assert item.left_out == (tuple(("1", str(fold)) for fold in range(5)) if with_it else ())
    said = [plain(caveat.sentence) for caveat in found.caveats]
    assert "Not used, as not every photo was tested: Simple_CNN, seed 1, lacks fold 3 of 5." in said


def test_a_replicate_that_lacks_a_fold_is_named_with_the_setting_that_parts_it_from_others() -> None:
    design = replace(DESIGN, arms=1)
    runs = [run for views in ("1", "8") for run in folded_runs(design, **{"data.views": views})]
    _, (found,) = whole_replicates(runs[:-1])
    assert str(found) == f"{ARMS[0]}, data.views=8, seed 2, lacks fold 4 of 5"


def test_a_store_of_folds_is_read_with_what_is_missing(track: Callable[..., tuple[Path, str]]) -> None:
    runs = folded_runs(Design(leaves=12, seeds=2, folds=3, arms=2))
    for number in (1, 2):
        runs[number] = replace(runs[number], status="FAILED", metrics={}, predictions=None)
    params = {**runs[0].params, "seed": "9", "data.split_seed": "9"}
    alone = replace(runs[0], started=1, params=params, tags={**runs[0].tags, names.SWEEP: "alone"})
    store, experiment = track([*runs, alone])
    uri = str(store)
    found = collect(uri, experiment, "latest")
    assert [str(item) for item in found.incomplete] == [f"{runs[0].row}, seed 0, lacks folds 1 and 2 of 3"]
    assert len(found.finished) == 2 * 6 - 3
    screen = " ".join(on_terminal(make_report(found, uri)).split())
    assert f"Not used, as not every photo was tested: {runs[0].row}, seed 0, lacks folds 1 and 2 of 3." in screen
    with pytest.raises(UserError, match="No replicate of folds is complete yet: .*, seed 9, lacks folds 1 and 2 of 3"):
        collect(uri, experiment, "alone")


def test_photos_from_elsewhere_of_a_replicate_that_is_not_whole_are_not_those_of_older_runs(
    track: Callable[..., tuple[Path, str]],
) -> None:
    runs = folded_runs(Design(leaves=12, seeds=2, folds=3, arms=1))
    there = {names.EXTERNAL: "field", names.EXTERNAL_HASH: "f" * 64}
    store, experiment = track([*runs[:3], replace(runs[3], tags={**runs[3].tags, **there})])
    found = collect(str(store), experiment, "latest")
    assert len(found.finished) == 3 and len(found.incomplete) == 1
    assert not any("Only older runs" in note for note in found.notes)


def test_rows_of_other_folds_or_of_one_split_are_not_compared() -> None:
    five, three = folded_runs(), folded_runs(replace(DESIGN, folds=3))
    single = [
        study_run(arm, seed=seed, params={"data.folds": "None", "data.fold": "None"})
        for arm in ARMS
        for seed in range(3)
    ]
    rows = make_rows([*five, *three, *single])
    assert len(rows) == 12
    assert len(groups_to_compare(rows)) == 3
    for item in compare(rows):
        assert item.one.folds == item.other.folds
    assert {row.settings["data.folds"] for row in rows} == {"5", "3", "None"}


def test_what_one_split_leaves_open_is_said_of_the_arms_that_have_one() -> None:
    folded = folded_runs(replace(DESIGN, arms=1))
    one, other = (
        study_run("Simple_CNN", params={"data.split_seed": seed}, tags={names.TEST_HASH: f"test {seed}"})
        for seed in ("0", "1")
    )
    single = "rests on one split of its photos. Another split would give other figures."
    for runs, said in (
        ([one], "Every network was tested on the same 1,519 photos. Another split would give other figures."),
        ([one, other], f"Each arm {single}"),
        ([*folded, one], f"The CNN from scratch {single}"),
    ):
        found = [plain(it.sentence) for it in report_of(runs).caveats if "nother split" in plain(it.sentence)]
        assert found == [said]


def test_leaves_are_counted_for_each_set_of_photos() -> None:
    few = folded_runs(replace(DESIGN, arms=1, leaves=30))
    unknown = [study_run("Simple_CNN", seed=seed) for seed in range(3)]
    for runs in ([*few, *unknown], [*unknown, *few]):
        said = [plain(caveat.sentence) for caveat in report_of(runs).caveats]
        assert "The test of fine-tuned whole has only 30 leaves; each interval rests on them." in said
        assert any(it.startswith("No two photos of the CNN from scratch are known to show the same") for it in said)
    said = [plain(caveat.sentence) for caveat in report_of(few).caveats]
    assert "The test has only 30 leaves; each interval rests on them." in said
    assert not any(it.startswith("No two photos") for it in said)


def test_arms_that_the_study_does_not_compare_are_not_said_to_lack_networks_or_photos() -> None:
    cnn = [run for run in folded_runs() if run.row == "Simple_CNN"]
    tags = {names.MODEL: "mnv2", names.ROW: "MobileNetV2"}
    other = [replace(run, tags={**run.tags, **tags}, params={**run.params, "model.name": "mnv2"}) for run in cnn]
    report = report_of([*cnn, *other])
    assert [len(row.runs) for row in report.rows] == [15, 15]
    page = make_page(report, "")
    assert "three networks of each of two arms" not in page
    assert "nothing to compare on the same photos" not in page


def test_the_audit_that_is_shown_is_said_to_be_of_its_own_split() -> None:
    found = {"exact_duplicates": {"pairs": 1, "across_splits": 1, "other_label": 0}}
    audit = {"audit": {**found, "near_duplicates": {"pairs": 0, "across_splits": 0, "other_label": 0}}}
    folded, single = folded_runs(replace(DESIGN, arms=1)), [study_run("Simple_CNN")]
    for runs, split in (
        (folded, "a fold's split"),
        ([*folded, *single], "a fold's split"),
        ([*single, *folded], "the split"),
    ):
        said = " ".join(plain(caveat.sentence) for caveat in report_of(runs, **audit).caveats)
        assert f"1 pair of equal photos lies on two sides of {split}, so" in said


def test_networks_of_other_partitions_are_no_pairs() -> None:
    # Drawn after other random numbers, so that the partitions differ where seeds and folds are called alike.
    one, other = folded_runs(replace(DESIGN, arms=1)), folded_runs(replace(DESIGN, arms=2))[15:]
    (pair,) = compare(make_rows([*one, *other]))
    assert pair.one.outcomes is not None
    assert pair.one.outcomes.networks == (pair.other.outcomes and pair.other.outcomes.networks)
    assert (pair.verdict, pair.networks) == (Verdict.NO_DATA, 0)


def test_seeds_on_one_partition_say_nothing_of_others() -> None:
    (row,) = make_rows(folded_runs(replace(DESIGN, arms=1), split_seed=7))
    assert holds_for(row) == "new leaves and seeds, on this partition"


@pytest.mark.parametrize("others", [(), (7,), (None,)])
def test_a_partition_that_is_set_to_one_of_the_seeds_is_one_row(others: tuple[int | None, ...]) -> None:
    design = replace(DESIGN, arms=1)
    runs = [run for split_seed in (0, *others) for run in folded_runs(design, split_seed)]
    if None in others:  # that seed with its own partition is the same network
        runs = [run for run in runs[5:]]
    rows = make_rows(runs)
    assert sum(len(row.runs) for row in rows) == len(runs)
    assert sorted(row.partitions for row in rows) == ([1, 3] if None in others else [1] * len(rows))
    assert len(rows) == 1 + len(others)
    assert configurations_tried(runs).total() == len(rows)


def test_a_photo_that_two_folds_test_makes_the_row_unusable() -> None:
    runs = folded_runs(replace(DESIGN, arms=1))
    twice = [
        replace(run, predictions=runs[0].predictions, metrics=runs[0].metrics) if run is runs[1] else run
        for run in runs
    ]
    assert make_rows(runs)[0].outcomes is not None
    assert make_rows(twice)[0].outcomes is None


def test_a_command_that_would_tell_has_the_folds_and_names_none() -> None:
    (row,) = make_rows([run for run in folded_runs(replace(DESIGN, arms=1)) if run.params["seed"] != "0"])
    command = "".join(map(text_of, would_tell([row], "model=cnn freeze=unfrozen")))
    assert "data.folds=5" in command
    assert "seed=1,2" in command
    assert not re.search(r"data\.fold=|split_seed", command)
