import numpy as np
import pandas as pd
import pytest

from leafexp.report.statistics import discordant_photos, holm, mcnemar, wilson_interval
from leafexp.report.wording import count, four_digits, p_value


def test_wilson_by_its_formula() -> None:
    images, right, z = 1519, 1425, 1.959964
    share = right / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    assert wilson_interval(share, images) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_wilson_stays_in_range() -> None:
    assert wilson_interval(1.0, 10)[1] == 1.0
    assert wilson_interval(0.0, 10)[0] == 0.0


def test_mcnemar_by_hand() -> None:
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(0, 5) == mcnemar(5, 0)
    assert mcnemar(0, 0) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


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
