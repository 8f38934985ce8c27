import types

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.models import univariate
from conftest import two_modes

pytestmark = pytest.mark.slow

OF = {"trait": "y", "covariates": ["intercept", "a", "b"], "seed": 1}
STRONG = univariate.Prior(h2=dist.Beta(3000.0, 7000.0))


def test_draws_of_one_mode_fail_beside_the_quadrature():
    """A mode with 1% of the probability, which four chains do not start in: R-hat is content, the means are not."""
    data, of = two_modes((300, 100, 6), 1e4), OF | {"covariates": ["intercept"]}
    result = bl.heritability(data, **of, methods=["exact", "nuts"], draws=500, warmup=500)
    assert result.exact.h2.mean > 1.2 * float(result.posterior["posterior"]["h2"].mean())
    assert result.diagnostics.r_hat < 1.01
    (failure,) = [words for words in result.diagnostics.failures if words.startswith("mean of h2")]
    assert "by quadrature" in failure


def test_draws_under_a_prior_of_beta_of_its_own_are_not_held_against_a_flat_one(small_data):
    """A prior that draws all fixed effects to 0 moves h2; that is no fault of the sampler."""
    prior = univariate.Prior(beta=dist.Normal(0.0, 0.01))
    result = bl.heritability(small_data, **OF, methods=["exact", "nuts"], prior=prior, draws=500, warmup=500)
    assert abs(result.exact.h2.mean - float(result.posterior["posterior"]["h2"].mean())) > 0.05
    assert not any("quadrature" in failure for failure in result.diagnostics.failures)


def test_a_copy_of_the_program_gets_the_prior(small_data):
    copy = types.SimpleNamespace(**vars(univariate))
    short = {"methods": ["nuts"], "chains": 2, "draws": 200, "warmup": 300}
    result = bl.heritability(small_data, **OF, **short, program=copy, prior=STRONG)
    assert_allclose(result.posterior["posterior"]["h2"].mean(), 0.3, atol=0.002)
    assert "Beta(concentration1=3000, concentration0=7000)" in result.posterior.attrs["prior"]


def test_unknown_settings_are_refused(small_data, gryphon_pair):
    with pytest.raises(TypeError, match="'chain' is no setting: those are se_kind, "):
        bl.heritability(small_data, **OF, methods=["reml"], chain=3)
    with pytest.raises(TypeError, match="'moments_se' is no setting"):
        bl.correlations(gryphon_pair, traits="AB", covariates=[["one"]] * 2, seed=1, moments_se="jackknife")


def test_a_prior_that_no_method_takes_is_refused(small_data):
    def model(data):
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(0.0, 1.0).expand([40]).to_event(1), obs=data.Y[:, 0])

    with pytest.raises(InputError, match="a prior was given, but the program that NUTS samples takes none"):
        bl.heritability(small_data, **OF, program=model, prior=STRONG, methods=["nuts"])
    short = {"chains": 2, "draws": 50, "warmup": 50}
    result = bl.heritability(small_data, **OF, program=model, prior=STRONG, methods=["exact", "nuts"], **short)
    assert_allclose(result.exact.h2.mean, 0.3, atol=0.002)
    assert np.isfinite(result.posterior["posterior"]["x"]).all()
