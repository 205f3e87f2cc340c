"""Halving chooses what a plain reading of its rule chooses, in whatever order the results come."""

import random

import pytest

from leafexp.search.halving import Rank, Result, rungs, standing

RUNGS = [2, 4, 6]


def reference(curves: list[dict[int, Rank] | None], eta: float) -> tuple[int | None, dict[int, int]]:
    """The chosen trial, and the rung that each trial ended at: all train, the best one in eta go on. None: it fails."""
    ends, racing = {}, list(range(len(curves)))
    for rung in RUNGS:
        for number in racing:
            ends[number] = rung
        alive = [number for number in racing if curves[number] is not None]
        keep = 1 if rung == RUNGS[-1] else max(1, int(len(racing) / eta))
        best: list[int] = []
        while len(best) < keep and len(best) < len(alive):
            best.append(max((n for n in alive if n not in best), key=lambda n: (curves[n][rung], -n)))  # type: ignore[index]
        racing = best
    return (racing[0] if racing else None), ends


@pytest.mark.parametrize("seed", range(300))
def test_it_chooses_as_the_rule_says_in_whatever_order_results_come(seed: int) -> None:
    dice = random.Random(seed)
    trials, eta = dice.randint(2, 14), dice.choice([1.5, 2, 3, 20])
    curves: list[dict[int, Rank] | None] = [
        None if dice.random() < 0.15 else {rung: (dice.randint(0, 3) / 4, -float(dice.randint(0, 2))) for rung in RUNGS}
        for _ in range(trials)
    ]
    results: list[Result] = []
    trained: list[tuple[int, int]] = []
    while not (now := standing(results, trials, RUNGS, eta)).decided:
        if len(results) < trials and (not now.open or dice.random() < 0.5):
            results.append(Result({}))
            continue
        number, rung = dice.choice(now.open)
        assert (number, rung) not in trained
        trained.append((number, rung))
        curve = curves[number]
        before = results[number].ranks
        results[number] = Result(before, failed=True) if curve is None else Result({**before, rung: curve[rung]})
    chosen, ends = reference(curves, eta)
    assert now.chosen == chosen
    assert {number: max(rung for of, rung in trained if of == number) for number in range(trials)} == ends
    assert dict(now.lost) == {n: end for n, end in ends.items() if n != chosen and curves[n] is not None}


def test_no_rung_lies_before_the_last_phase_has_had_an_epoch() -> None:
    assert rungs([0.4, 0.7], 10, 2) == [4, 7, 10]
    assert rungs([0.4, 0.7], 10, 6) == [7, 10]
    assert rungs([0.4, 0.7], 2, 0) == [1, 2]
    assert rungs([0.4], 1, 0) == [1]
    assert rungs([], 10, 2) == [10]
