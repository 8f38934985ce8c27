import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bayeslmm.genotypes.calls import dosages_of

NAN = np.nan
# 0/1, 1/2, 2|2, ./., 0/., ./1, haploid 1, haploid 0, haploid missing
CALLS = np.array([[[0, 1], [1, 2], [2, 2], [-1, -1], [0, -1], [-1, 1], [1, -2], [0, -2], [-1, -2]]])


@pytest.mark.parametrize(
    ("allele", "expected", "half_calls"),
    [(1, [1, 1, 0, NAN, NAN, NAN, 2, 0, NAN], 2), (2, [0, 1, 2, NAN, NAN, NAN, 0, 0, NAN], 0)],
)
def test_copies_of_an_allele_are_counted_and_half_calls_are_missing(allele, expected, half_calls):
    G, half = dosages_of(np.array([allele]), CALLS, None)
    assert_array_equal(G[0], np.float32(expected))
    assert half == half_calls


def test_one_column_of_alleles_is_haploid():
    G, half = dosages_of(np.array([1]), np.array([[[0], [1], [-1]]]), None)
    assert_array_equal(G, np.float32([[0, 2, NAN]]))
    assert half == 0


def test_dosages_come_before_calls_and_count_twice_in_the_haploid():
    D = np.array([[0.75, NAN, NAN, 1.25, NAN, 0.5, 0.875, NAN, 0.25]], dtype=np.float32)[..., None]
    G, half = dosages_of(np.array([1]), CALLS, D)
    assert_array_equal(G[0], np.float32([0.75, 1, 0, 1.25, NAN, 0.5, 1.75, 0, 0.5]))
    assert half == 1


def test_dosages_without_calls_are_taken_as_they_are():
    D = np.array([[[0.5, 1.5], [NAN, NAN]]], dtype=np.float32)
    assert_array_equal(dosages_of(np.array([2]), None, D).G, np.float32([[1.5, NAN]]))
