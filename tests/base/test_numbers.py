import numpy as np
import pytest

from bayeslmm.base.numbers import decimals_of, fixed, significant


@pytest.mark.parametrize(
    ("spread", "figures", "decimals"), [(0.0326, 3, 4), (0.9, 2, 2), (1.0, 3, 2), (523.0, 3, 0), (1e-15, 3, 17)]
)
def test_decimals_of_a_spread(spread, figures, decimals):
    assert decimals_of(spread, figures) == decimals


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.59638, 4, "0.5964"),
        (5.0571e-15, 17, "5.06e-15"),
        (5.0571e17, -14, "5.057e+17"),
        (-0.0, 12, "0"),
        (1234.4, -1, "1234"),
        (np.nan, 20, "nan"),
        (np.inf, 3, "inf"),
    ],
)
def test_a_number_has_the_digits_that_its_spread_has(value, decimals, text):
    assert fixed(value, decimals) == text


def test_numbers_side_by_side_are_written_alike():
    assert fixed(2.0, 1, largest=1e12) == "2.0e+00"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (1e-9, "1.000e-09"), (54321.4, "54,321"), (3e12, "3.000e+12"), (0.0, "0")],
)
def test_significant_digits(value, text):
    assert significant(value) == text
