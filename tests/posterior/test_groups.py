import arviz as az
import matplotlib as mpl
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import DRAWS_GROUPS
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.models import bivariate, multivariate, univariate
from bayeslmm.posterior.exact_draws import exact_draws
from bayeslmm.posterior.groups import check_groups, with_groups
from bayeslmm.posterior.tree import draws_tree
from conftest import residual_variance

mpl.use("agg")
PRIOR = univariate.Prior(h2=dist.Beta(2.0, 5.0), sigma2_p=dist.LogNormal(0.2, 0.5))


@pytest.fixture
def data(dense) -> RotatedData:
    """On a K with a mean diagonal of 3."""
    K, X, y, _ = dense
    return bl.decompose(3 * K).rotate(y[:, None], X)


@pytest.fixture
def tree(data):
    exact = bl.exact.posterior(data, PRIOR)
    draws = exact_draws(exact, data, PRIOR, seed=1, dims=univariate.DIMS, draws=500)
    return with_groups(draws, data, DRAWS_GROUPS, program=univariate, prior=PRIOR, seed=2)


def test_rows_sum_to_the_dense_log_likelihood(dense, data, tree):
    K, X, y, _ = dense
    loglik = tree["log_likelihood"]["y"]
    assert loglik.dims == ("chain", "draw", "rotated_row") == tree["posterior_predictive"]["y"].dims
    for chain, draw in ((0, 0), (3, 42)):
        at = tree["posterior"].isel(chain=chain, draw=draw)
        V = at["sigma2_u"].item() * 3 * K + at["sigma2_e"].item() * np.eye(len(y))
        law = stats.multivariate_normal(X @ at["beta"].to_numpy()[:, 0], V)
        assert_allclose(loglik.isel(chain=chain, draw=draw).sum(), law.logpdf(y), rtol=1e-9)
    assert "not to leave out an individual" in tree["log_likelihood"].attrs["rows"]


def test_new_data_are_those_of_the_model(data, tree):
    posterior = tree["posterior"]
    mean = np.einsum("nc,kdc->kdn", data.X, posterior["beta"].to_numpy()[..., 0])
    variance = posterior["sigma2_u"].to_numpy() * data.s + posterior["sigma2_e"].to_numpy()
    z = (tree["posterior_predictive"]["y"].to_numpy() - mean) / np.sqrt(variance)
    assert stats.kstest(z.ravel()[::7], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[..., 0].ravel(), z[..., 1].ravel())[0, 1]) < 0.1


def test_draws_of_the_prior_are_on_its_scale(data, tree):
    prior, v = tree["prior"], residual_variance(data)[0]
    assert set(prior.data_vars) == {"h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"}  # beta has a flat prior
    k = float(np.mean(data.s))
    u, e = k * prior["sigma2_u"].to_numpy().ravel(), prior["sigma2_e"].to_numpy().ravel()
    assert stats.kstest(u / (u + e), stats.beta(2, 5).cdf).pvalue > 1e-3
    assert stats.kstest((u + e) / v, stats.lognorm(0.5, scale=np.exp(0.2)).cdf).pvalue > 1e-3


def test_the_log_density_of_the_prior(data, tree):
    v, k = residual_variance(data)[0], float(np.mean(data.s))
    u, e = k * tree["posterior"]["sigma2_u"], tree["posterior"]["sigma2_e"]
    assert_allclose(tree["log_prior"]["h2"], stats.beta(2, 5).logpdf(u / (u + e)), rtol=1e-6, atol=1e-6)
    assert_allclose(tree["log_prior"]["sigma2_p"], stats.lognorm(0.5, scale=np.exp(0.2)).logpdf((u + e) / v), rtol=1e-6)


def test_power_scaling_by_weights_is_that_of_the_quadrature(data, tree):
    """Beta(a, b) to a power is a Beta again: the posterior under it is known without draws."""
    h2, log_prior = (tree[group]["h2"].to_numpy().ravel() for group in ("posterior", "log_prior"))
    for power in (0.8, 1.25):
        scaled = bl.exact.posterior(data, PRIOR._replace(h2=dist.Beta(1 + power, 1 + 4 * power))).h2
        weights = np.exp((power - 1) * (log_prior - log_prior.max()))
        assert abs(np.average(h2, weights=weights) - scaled.mean) < 0.2 * scaled.sd


def test_arviz_takes_the_groups(data, tree):
    loo = az.loo(tree, pointwise=True)
    assert loo.n_data_points == 40
    assert 1 < loo.p < 8  # five parameters
    sensitivity = az.psense_summary(tree, var_names=["h2"])
    assert sensitivity.loc["h2[0]", "prior"] > 0.05  # forty individuals say little
    for plot in (az.plot_ppc_dist, az.plot_ppc_pit, az.plot_loo_pit):
        plot(tree)
    az.plot_prior_posterior(tree, var_names=["h2"])
    az.plot_psense_dist(tree, var_names=["h2"])
    mpl.pyplot.close("all")


def test_a_proper_prior_of_effects_has_draws_and_a_density(data):
    prior = univariate.Prior(beta=dist.Normal(0.0, 3.0))
    posterior = {name: np.full((1, 2, 1), v) for name, v in {"h2": 0.25, "sigma2_u": 0.3, "sigma2_e": 0.9}.items()}
    posterior["sigma2_p"] = posterior["sigma2_u"] + posterior["sigma2_e"]
    posterior["beta"] = np.array([[[[1.0], [2.0], [3.0]], [[0.5], [0.0], [-1.0]]]])
    draws = draws_tree(posterior, data, dims=univariate.DIMS, coords=None, attrs={})
    tree = with_groups(draws, data, ["prior", "log_prior"], program=univariate, prior=prior, seed=1)
    assert tree["prior"]["beta"].shape == (1, 2, 3, 1)
    sd = np.sqrt(residual_variance(data)[0])
    b = np.linalg.norm(data.X @ posterior["beta"][0, :, :, 0].T, axis=0)  # of the orthonormal design: |b| = |X beta|
    expected = -0.5 * (b / (3 * sd)) ** 2 - 3 * np.log(3 * sd * np.sqrt(2 * np.pi))
    assert_allclose(tree["log_prior"]["beta"][0], expected, rtol=1e-6)


def test_no_groups_change_nothing(data, tree):
    assert with_groups(tree, data, (), program=univariate, seed=1) is tree


@pytest.mark.parametrize(("t", "program"), [(2, bivariate), (3, multivariate)])
def test_several_traits(dense_traits, t, program):
    few = dense_traits(t, missing=False)
    rng, n = np.random.default_rng(1), len(few.Y)
    matrices = {}
    for name in ("u", "e"):
        A = rng.normal(size=(1, 60, t, 2 * t))
        matrices[name] = A @ A.swapaxes(-1, -2)
    variances = {name: np.diagonal(M, axis1=-2, axis2=-1) for name, M in matrices.items()}
    roots = {name: np.sqrt(v) for name, v in variances.items()}
    rho = {name: M / (roots[name][..., :, None] * roots[name][..., None, :]) for name, M in matrices.items()}
    C = sum(X.shape[1] for X in few.data.X)
    posterior = {
        "h2": variances["u"] / (variances["u"] + variances["e"]),
        **{f"sigma2_{name}": v for name, v in variances.items()},
        "sigma2_p": variances["u"] + variances["e"],
        **{f"Gamma_{name}": M for name, M in matrices.items()},
        **{f"rho_{name}": r[..., 0, 1] if t == 2 else r for name, r in rho.items()},
        "beta": rng.normal(size=(1, 60, C)),
    }
    draws = draws_tree(posterior, few.data, dims=program.DIMS, coords=None, attrs={})
    tree = with_groups(draws, few.data, DRAWS_GROUPS, program=program, seed=1)
    assert tree["posterior_predictive"]["y"].shape == (1, 60, n, t)
    assert tree["log_likelihood"]["y"].shape == (1, 60, n)
    for draw in range(3):
        V = few.V(matrices["u"][0, draw], matrices["e"][0, draw])
        law = stats.multivariate_normal(few.stacked @ posterior["beta"][0, draw], V)
        assert_allclose(tree["log_likelihood"]["y"][0, draw].sum(), law.logpdf(few.y), rtol=1e-8)
    assert tree["log_prior"]["h2"].shape == (1, 60, t)
    assert_allclose(tree["log_prior"]["rho_u"], np.log(0.5) if t == 2 else tree["log_prior"]["rho_u"][0, 0], rtol=1e-5)
    assert "beta" not in tree["prior"]
    assert (np.abs(tree["prior"]["rho_u"]) <= 1 + 1e-12).all()
    with pytest.warns(UserWarning, match="Pareto"):  # these draws are of no posterior
        az.loo(tree)


def test_what_there_cannot_be_is_one_line(data, dense_traits):
    with pytest.raises(
        InputError, match="must be among prior, log_prior, posterior_predictive, log_likelihood, but 'x'"
    ):
        check_groups(["x"], data, 10)
    with pytest.raises(InputError, match="log_likelihood needs traits without missing values, but 6 are missing"):
        check_groups(["log_likelihood"], dense_traits().data, 10)
    assert check_groups(["prior", "log_prior"], dense_traits().data, 10) == ""
    words = check_groups(["posterior_predictive", "log_likelihood"], data, 100_000)
    assert words == "posterior_predictive and log_likelihood of 100,000 draws of 40 rows: 64 MB"
    with pytest.raises(InputError, match=r"log_likelihood of .* draws of 40 rows needs .* GB of memory"):
        check_groups(["log_likelihood"], data, 10**12)
