import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.transform import transformed
from bayeslmm.kinship.kinship import Kinship


def test_scores_are_those_of_blom():
    """R: qnorm((rank(c(10, 20, 20, 40)) - 3/8) / (4 + 1/4))."""
    scores = transformed(np.array([10.0, 20.0, np.nan, 20.0, 40.0]), "rank")
    assert_allclose(scores, [-1.049131398, 0, np.nan, 0, 1.049131398], atol=1e-9)


@pytest.fixture
def tables(write, rng):
    """A table of 12 individuals, of whom 10 are in the kinship, with two traits, one of them with gaps."""
    values = rng.lognormal(size=(12, 2))
    rows = [f"p{i} {a:.6f} {'NA' if i % 5 == 0 else f'{b:.6f}'}\n" for i, (a, b) in enumerate(values)]
    W = rng.standard_normal((10, 30))
    return bl.read_table(write("t.txt", "IID A B\n" + "".join(rows))), Kinship(
        tuple(f"p{i}" for i in range(10)), W @ W.T / 30, "K"
    )


@pytest.mark.parametrize("how", ["log", "rank"])
def test_those_who_are_analysed_are_transformed(tables, how):
    table, kinship = tables
    for trait in "AB":
        (cohort,) = bl.align(kinship, bl.measure(table, [trait], transform=how))
        (plain,) = bl.align(kinship, bl.measure(table, [trait]))
        assert cohort.transform == how
        assert_array_equal(cohort.Y[:, 0], transformed(plain.Y[:, 0], how))
    joint = bl.align_jointly(kinship, bl.measure(table, ["A", "B"], transform=how))
    plain = bl.align_jointly(kinship, bl.measure(table, ["A", "B"]))
    assert_array_equal(joint.Y, np.column_stack([transformed(y, how) for y in plain.Y.T]))
    assert np.isnan(joint.Y[:, 1]).sum() == 2


def test_logarithms_need_positive_values(write):
    table = bl.read_table(write("t.txt", "IID y\na 1\nb 0\nc -2\n"))
    with pytest.raises(InputError, match=r"t\.txt line 3 \(id b\): trait 'y' must be positive .* but 0 .*\(2 such"):
        bl.measure(table, ["y"], transform="log")
