"""Data in units of their own: once for all methods, and the same numbers as anew for each."""

import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.likelihood import joint_whitened, whitened


@pytest.fixture
def calls(monkeypatch):
    """Designs that were made orthonormal to whiten data: one for each trait."""
    designs = []

    def orthonormal(X, original=whitened.orthonormal):
        designs.append(X)
        return original(X)

    for module in (whitened, joint_whitened):
        monkeypatch.setattr(module, "orthonormal", orthonormal)
    return designs


@pytest.mark.slow
def test_one_trait_is_whitened_once_for_all_methods(small_data, calls):
    methods = ["reml", "ml", "em", "pxem", "mom", "exact"]
    result = bl.heritability(small_data, trait="y", covariates=["one", "a", "b"], seed=1, methods=methods)
    assert len(calls) == 1
    assert_allclose(result.fits["mom"].cov, bl.moments(small_data).cov, rtol=1e-12)
    assert_allclose(result.exact.h2.mean, bl.exact.posterior(small_data).h2.mean, rtol=1e-12)
    assert len(calls) == 3


@pytest.mark.slow
def test_several_traits_are_whitened_once_for_all_methods(dense_traits, calls):
    data = dense_traits(2, 60).data
    names = [["one"], ["one", "a"]]
    result = bl.correlations(data, traits=["x", "y"], covariates=names, seed=1, methods=["mom", "reml"])
    assert len(calls) == 2
    assert_allclose(result.reml.loglik, bl.joint_reml(data).loglik, rtol=1e-12)
    assert len(calls) == 4
