"""What counts as equal: every bit where nothing rounds otherwise, and the stated bounds elsewhere."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from leafexp import names
from leafexp.verify.compare import compare
from leafexp.verify.tracked import Tracked

TAGS = {names.ARITHMETIC: "x86_64, avx2", names.LIBRARIES: "keras 3", names.THREADS: "2", names.SPLIT_HASH: "ab"}
COUNTS = {names.TRAIN_IMAGES: 400.0, names.VALIDATION_IMAGES: 100.0, names.TEST_IMAGES: 100.0}
RESULTS = {names.TEST_ACCURACY: 0.9, names.TEST_LOSS: 0.3, names.BEST_EPOCH: 2.0, names.PARAMS_TOTAL: 70.0}


def tracked(tags: Mapping[str, str] = TAGS) -> Tracked:
    epochs = pd.DataFrame(
        {names.LOSS: [0.9, 0.4], names.VAL_ACCURACY: [0.7, 0.9], names.LEARNING_RATE: [1e-3, 1e-3]}, index=[1, 2]
    )
    right = np.arange(100) < 90
    predictions = pd.DataFrame({"path": [f"{number}.jpg" for number in range(100)], "label": "healthy"})
    predictions["predicted"] = np.where(right, "healthy", "rust")
    predictions["probability_healthy"] = np.where(right, 0.8, 0.1)
    return Tracked("0" * 32, tags, COUNTS | RESULTS, epochs, predictions, "")


def elsewhere() -> Tracked:
    return tracked(TAGS | {names.ARITHMETIC: "x86_64, avx512f"})


def changed(run: Tracked, metric: str, by: float) -> Tracked:
    if metric in run.epochs:
        return replace(run, epochs=run.epochs.assign(**{metric: run.epochs[metric] + [0, by]}))
    return replace(run, metrics={**run.metrics, metric: run.metrics[metric] + by})


@pytest.mark.parametrize("metric", [*RESULTS, names.LOSS, names.VAL_ACCURACY, names.LEARNING_RATE])
def test_where_nothing_rounds_otherwise_the_last_bit_counts(metric: str) -> None:
    assert compare(tracked(), tracked()).equal
    again = compare(tracked(), changed(tracked(), metric, 1e-12))
    assert [difference.split()[0].rstrip(":") for part in again.parts for difference in part.differences] == [metric]


@pytest.mark.parametrize(
    ("metric", "within", "beyond"),
    [
        (names.TEST_ACCURACY, 0.09, -0.12),  # of 100 photos: three standard errors of 0.031 and one photo
        (names.VAL_ACCURACY, -0.09, 0.12),
        (names.TEST_LOSS, 0.07, 0.08),
        (names.LOSS, -0.09, 0.11),
        (names.LEARNING_RATE, 1e-10, 1e-8),
        (names.PARAMS_TOTAL, 0, 1),
        (names.TEST_IMAGES, 0, 1),
    ],
)
def test_on_another_processor_the_bounds_hold(metric: str, within: float, beyond: float) -> None:
    assert compare(tracked(), changed(elsewhere(), metric, within)).equal
    found = compare(tracked(), changed(elsewhere(), metric, beyond))
    assert found.other == ["processor or switches"]
    assert not found.equal
    assert not compare(tracked(), changed(elsewhere(), metric, float("nan"))).equal


def test_an_epoch_that_ties_decide_is_compared_only_where_every_bit_is() -> None:
    moved = {names.BEST_EPOCH: 1.0}
    assert compare(tracked(), replace(elsewhere(), metrics={**elsewhere().metrics, **moved})).equal
    assert not compare(tracked(), replace(tracked(), metrics={**tracked().metrics, **moved})).equal
    assert "best_epoch, which ties decide" in compare(tracked(), elsewhere()).left_out


def test_on_another_processor_predictions_are_counted_and_not_judged() -> None:
    table = elsewhere().predictions
    assert table is not None
    table.loc[:19, "predicted"] = "rust"
    found = compare(tracked(), replace(elsewhere(), predictions=table))
    assert found.equal
    assert "predictions: 20 of 100 are others" in found.left_out
    assert len(compare(tracked(), replace(tracked(), predictions=table)).parts[-1].differences) == 20
    table["label"] = "rust"
    assert not compare(tracked(), replace(elsewhere(), predictions=table)).equal


def test_nothing_that_lacks_passes_for_equal() -> None:
    without = replace(tracked(), predictions=None)
    assert not compare(without, tracked()).equal
    shorter = tracked()
    assert not compare(replace(shorter, epochs=shorter.epochs.iloc[:1]), tracked()).equal
    fewer = {name: value for name, value in tracked().metrics.items() if name != names.TEST_LOSS}
    assert compare(replace(tracked(), metrics=fewer), tracked()).left_out == [
        "test_loss, which the tracked run does not have"
    ]
    assert not compare(tracked(), tracked({**TAGS, names.SPLIT_HASH: "cd"})).equal


def test_a_run_that_does_not_tell_its_processor_is_compared_bit_by_bit_only_if_it_is_the_same_run() -> None:
    older = {tag: value for tag, value in TAGS.items() if tag != names.ARITHMETIC}
    assert compare(tracked(older), tracked()).other == ["processor or switches (not tracked)"]
    same = {names.IDENTITY: "1"}
    assert compare(tracked(older | same), tracked(TAGS | same)).other == []
    assert compare(tracked(older | same), tracked(TAGS | same | {names.THREADS: "1"})).other != []


def test_where_ties_decide_when_patience_ends_training_the_epochs_of_both_are_compared() -> None:
    longer, shorter = tracked(), elsewhere()
    longer = replace(longer, metrics={**longer.metrics, names.EPOCHS_TRAINED: 2.0, names.OPTIMIZER_STEPS: 26.0})
    ends = {names.EPOCHS_TRAINED: 1.0, names.OPTIMIZER_STEPS: 13.0}
    shorter = replace(shorter, metrics={**shorter.metrics, **ends}, epochs=shorter.epochs.iloc[:1])
    for one, other in ((longer, shorter), (replace(shorter, tags=TAGS), replace(longer, tags=shorter.tags))):
        found = compare(one, other, patient=True)
        assert found.equal
        assert "epochs after 1, as patience ended one training there" in found.left_out
        assert not compare(one, other).equal
        assert not compare(one, replace(other, tags=TAGS), patient=True).equal
    lacking = replace(longer, tags=shorter.tags, epochs=longer.epochs.iloc[:1])
    assert not compare(longer, lacking, patient=True).equal


def test_photos_from_elsewhere_are_compared_by_their_own_number() -> None:
    def there(run: Tracked, accuracy: float, **tags: str) -> Tracked:
        assert run.predictions is not None
        metrics = {**run.metrics, names.EXTERNAL_IMAGES: 10_000.0, names.EXTERNAL_ACCURACY: accuracy}
        tagged = {**run.tags, names.EXTERNAL_HASH: "ef", **tags}
        return replace(run, tags=tagged, metrics=metrics, elsewhere=run.predictions.copy())

    one = there(tracked(), 0.9)
    assert compare(one, there(elsewhere(), 0.907)).equal
    assert not compare(one, there(elsewhere(), 0.93)).equal
    assert not compare(one, there(tracked(), 0.9, **{names.EXTERNAL_HASH: "gh"})).equal
    again = there(tracked(), 0.9)
    assert again.elsewhere is not None
    assert compare(one, again).equal
    again.elsewhere.loc[3, "probability_healthy"] = 0.7
    assert [part.what for part in compare(one, again).parts if part.differences] == [
        "predictions of 100 photos from elsewhere"
    ]
    assert not compare(replace(one, elsewhere=None), again).equal
