import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from bayeslmm.scan_table import log10_bayes_factor


@pytest.mark.parametrize(("beta", "se", "prior_sd"), [(0.1, 0.05, 0.15), (-0.4, 0.05, 0.15), (0.0, 0.3, 0.2)])
def test_bayes_factor_equals_the_integral_over_the_prior(beta, se, prior_sd):
    points = [beta, 0.0]
    evidence, _ = quad(lambda b: norm.pdf(beta, b, se) * norm.pdf(b, 0, prior_sd), -3, 3, points=points, epsabs=0)
    expected = np.log10(evidence / norm.pdf(beta, 0, se))
    assert_allclose(log10_bayes_factor(np.array([beta]), np.array([se]), prior_sd), expected, rtol=1e-8)
