import math

import numpy as np
import pandas as pd
import pytest
from leafexp.report.statistics import (
    bootstrap_interval,
    discordant_photos,
    holm,
    mcnemar,
    photos_needed,
    seed_interval,
    sign_flip,
    wilson_interval,
)
from leafexp.report.wording import count, four_digits, p_value
from scipy import stats


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_newcombe_published_it(right: int, images: int, low: float, high: float) -> None:
    # Newcombe 1998, Stat. Med. 17:857-872, table I, method 3
    assert wilson_interval(right / images, images) == pytest.approx((low, high), abs=6e-5)


def test_student_s_interval_of_his_sleep_data() -> None:
    # Student 1908: extra hours of sleep, differences of two drugs; R's t.test(paired) gives 0.7001 to 2.4599
    hours = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert seed_interval(hours) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert np.isnan(seed_interval([0.9])).all()


def test_mcnemar_by_hand_beside_the_published_approximation() -> None:
    # 20 and 5 discordant pairs: Fleiss 1981, p. 114, has chi-square 7.84 with one degree of freedom
    exact = 2 * sum(math.comb(25, right) for right in range(6)) / 2**25
    assert mcnemar(20, 5) == mcnemar(5, 20) == pytest.approx(exact)
    assert exact == pytest.approx(stats.chi2.sf(7.84, 1), abs=0.002)
    assert mcnemar(0, 0) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_sign_flips_of_darwin_s_maize() -> None:
    # Fisher 1935, section 21: 1,726 of the 32,768 sums are as far from 0 as 314 or farther
    eighths_of_an_inch = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip(eighths_of_an_inch) == pytest.approx(1726 / 32768, abs=1e-9)
    assert sign_flip([0.01, 0.02, 0.03]) == 2 / 2**3
    assert sign_flip([0.0, 0.0]) == 1.0


def test_the_bootstrap_over_leaves_is_scipy_s() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 4)
    values = np.sign(random.normal(0.3, 1, 60))[groups] * (random.random(240) < 0.6)
    sums, sizes = (np.bincount(groups, weights) for weights in (values, np.ones(240)))
    expected = stats.bootstrap(
        (sums, sizes), lambda s, n, axis: s.sum(axis) / n.sum(axis), paired=True, vectorized=True,
        method="percentile", n_resamples=20_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    low, high, error = bootstrap_interval(values[:, None], [str(group) for group in groups])
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.01)
    assert error == pytest.approx(expected.standard_error, rel=0.03)
    as_if_apart = bootstrap_interval(values[:, None], [str(photo) for photo in range(240)])
    assert as_if_apart[2] < 0.75 * error, "photos of a leaf that go together make the interval wider"


def test_the_bootstrap_holds_the_chance_of_seeds_too() -> None:
    right = np.tile([[1.0], [0.0]], (50, 1))
    seeds = np.hstack([np.ones((100, 1)), np.zeros((100, 1)), right])
    one, three = (bootstrap_interval(values, [str(photo) for photo in range(100)]) for values in (right, seeds))
    assert one[1] - one[0] < 0.22
    assert three[1] - three[0] > 0.6
    assert bootstrap_interval(np.ones((10, 2)), list("abcdefghij"))[:2] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("discordant", "expected"), [(0.03, 5_430), (0.08, 14_480)]
)  # fmt: skip
def test_photos_needed_for_the_student_report(discordant: float, expected: int) -> None:
    # 0.938117 against 0.933509: 5,400 to 14,500 test photos where 3 to 8 % are discordant, for p just under 0.05
    difference = 0.938117 - 0.933509
    error = np.sqrt((discordant - difference**2) / 1000)
    assert photos_needed(difference, error, 1000, power=0.5) == pytest.approx(expected, rel=0.01)
    unpaired = np.sqrt((0.938117 * 0.061883 + 0.933509 * 0.066491) / 1000)
    assert photos_needed(difference, unpaired, 1000, power=0.5) == pytest.approx(21_800, rel=0.01)
    assert photos_needed(0.0, error, 1000) == np.inf


def test_photos_are_paired_by_path() -> None:
    one = pd.Series({"a": 1.0, "b": 0.0, "c": 2 / 3, "d": 1.0})
    other = pd.Series({"c": 1 / 3, "b": 1.0, "a": 1.0})
    assert discordant_photos(one, other) == (1, 1, 3)


@pytest.mark.parametrize(
    ("value", "printed"),
    [(2280.062, "2,280"), (227.9999, "228.0"), (26.25025, "26.25"), (0.012346, "0.01235"), (0.0, "0")],
)
def test_four_significant_digits(value: float, printed: str) -> None:
    assert four_digits(value) == printed


def test_other_numbers() -> None:
    assert count(3305414) == "3,305,414"
    assert count(7.5) == "7.5"
    assert count(float("nan")) == "not logged"
    assert p_value(0.00001) == "p < 0.0001"
