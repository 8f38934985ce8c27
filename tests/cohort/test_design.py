import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.design import check_full_rank, treatment_coding
from bayeslmm.likelihood.bases import independent, orthonormal


def test_treatments_are_coded_against_the_first_level():
    names, block = treatment_coding("farm", ["b", "c", "a", "b"])
    assert names == ["farm[b]", "farm[c]"]
    assert_allclose(block, [[1, 0], [0, 1], [0, 0], [1, 0]])


def test_collinear_covariates_are_named_with_what_they_are_made_of(rng):
    a, b = rng.standard_normal((2, 20))
    X = np.column_stack([np.ones(20), a * 1e6, b, a * 3 - 2, b * 1e-8])
    # The last is b itself in other units; the fourth is the intercept and a.
    with pytest.raises(InputError) as caught:
        check_full_rank(X, ["intercept", "a", "b", "twin", "tiny"], where="covar.txt")
    message = str(caught.value)
    assert "linearly independent among the 20 individuals analysed" in message
    assert ("tiny is a combination of b" in message) or ("b is a combination of tiny" in message)
    assert sum(name in message for name in ("twin", "intercept", "a")) == 3


def test_a_column_of_zeros_is_named():
    with pytest.raises(InputError, match="the covariate zero is 0 for everybody analysed"):
        check_full_rank(np.column_stack([np.ones(5), np.zeros(5)]), ["intercept", "zero"], where="x")


def test_units_do_not_make_a_design_collinear(rng):
    X = np.column_stack([np.ones(30), 1e9 * rng.standard_normal(30), 1e-9 * rng.standard_normal(30)])
    check_full_rank(X, ["intercept", "big", "small"], where="x")


def test_orthonormal_factors(rng):
    X = rng.standard_normal((12, 4))
    Q, R = orthonormal(X)
    assert_allclose(Q @ R, X, atol=1e-12)
    assert_allclose(Q.T @ Q, np.eye(4), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e200, 1e300])
def test_any_unit_has_a_rank_and_a_basis(rng, unit):
    X = np.column_stack([np.ones(30), rng.standard_normal(30) * unit])
    check_full_rank(X, ["intercept", "x"], where="x")
    Q, back = independent(X)
    assert_allclose(Q.T @ Q, np.eye(2), atol=1e-12)
    assert_allclose(X @ back, Q, atol=1e-9)
    with pytest.raises(InputError, match="must be linearly independent"):
        check_full_rank(np.column_stack([X, 2 * X[:, 1]]), ["intercept", "x", "twice"], where="x")


def test_many_collinear_covariates_are_told_in_short(rng):
    x = rng.standard_normal(600)
    X = np.column_stack([x * (k + 1) for k in range(400)])
    with pytest.raises(InputError, match="and 396 more") as caught:
        check_full_rank(X, [f"covariate{k}" for k in range(400)], where="x")
    assert len(str(caught.value)) < 600
