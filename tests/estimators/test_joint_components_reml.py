"""REML of several traits and components against published ASReml, references made apart, and simpler searches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.cohort.joint_records import JointRecords
from bayeslmm.estimators.components_reml import components_reml
from bayeslmm.estimators.joint_components_reml import joint_components_reml
from bayeslmm.likelihood.joint_components import joint_components

# ASReml-R 4.1.0 as printed in github.com/wamwiki/wamwiki.github.io, Tutorials/Tutorial-ASReml-R-v4.html:
# cbind(BWT, TARSUS) ~ trait + trait:SEX, random = ~ us(trait):vm(ANIMAL) + us(trait):BYEAR + us(trait):MOTHER. Its last
# step still changed some components by 0.1%: (component, error) of elements 11, 12, 22.
ASREML = {
    "animal": [(1.9893623, 0.4410265), (3.3168101, 0.9030192), (10.2277887, 2.8065673)],
    "byear": [(0.9746500, 0.2825643), (0.1624455, 0.4185658), (3.7384670, 1.2069893)],
    "mother": [(1.1445030, 0.2302062), (-1.5566953, 0.4051695), (4.8206658, 1.3200970)],
    "e": [(1.8443114, 0.3443161), (4.0144042, 0.7411868), (12.4857174, 2.2890289)],
}
ASREML_LOGLIK = -2380.246
KINDS = {"AI": "average", "EI": "expected", "OI": "observed"}
UPPER = np.triu_indices(2)


@pytest.fixture(scope="module")
def gryphons(gryphon_joint_components):
    return joint_components_reml(gryphon_joint_components("animal"))


def without_xx(fit):
    """Return the log-likelihood without 1/2 log|X'X|."""
    return fit.loglik - sum(np.linalg.slogdet(one.X.T @ one.X)[1] for one in fit.data.records.of_traits) / 2


@pytest.mark.slow
def test_gryphons_with_mothers_and_years_equal_asreml(gryphon_joint_components):
    fit = joint_components_reml(gryphon_joint_components("animal+byear+mother"))
    errors = fit.errors("cov")
    assert fit.boundary == ()
    for name, Sigma, error in zip(fit.names, fit.Sigma, errors, strict=True):
        printed = np.array(ASREML[name])
        assert_allclose(Sigma[UPPER], printed[:, 0], rtol=3e-4, err_msg=name)
        assert_allclose(error[UPPER], printed[:, 1], rtol=5e-4, err_msg=name)
    assert_allclose(without_xx(fit) + fit.data.free / 2 * np.log(2 * np.pi), ASREML_LOGLIK, atol=5.1e-4)
    assert_allclose(fit.rho[fit.names.index("mother"), 0, 1], -0.66, atol=0.005)


def test_gryphons_of_one_component_equal_the_reference(gryphons, gryphon_reference):
    wanted = gryphon_reference["own_reml"]["fits"]["biv"]
    fit = gryphons
    assert_allclose(np.concatenate([one[UPPER] for one in fit.Sigma]), wanted["theta"], rtol=1e-6)
    assert_allclose(without_xx(fit), wanted["loglik_reml"], atol=1e-8)
    assert_allclose([beta[0] for beta in fit.beta], wanted["beta"], rtol=1e-7)
    assert_allclose([se[0] for se in fit.se_beta], wanted["se_beta"], rtol=1e-6)
    for short, kind in KINDS.items():
        assert_allclose(
            np.concatenate([one[UPPER] for one in fit.errors("cov", kind)]), wanted[f"se_{short}"], rtol=1e-5
        )
        assert_allclose(fit.errors("sigma2", kind)[0], np.array(wanted[f"se_{short}"])[[0, 2]], rtol=1e-5)
        rho = [fit.rho[:, 0, 1], fit.errors("rho", kind)[:, 0, 1]]
        assert_allclose(np.transpose(rho), [wanted[f"rA_{short}"], wanted[f"rE_{short}"]], rtol=1e-5)
        share = [fit.shares[0], fit.errors("share", kind)[0]]
        assert_allclose(
            np.transpose(share), [wanted[f"h2_bwt_{short}"], wanted[f"h2_tarsus_{short}"]], rtol=1e-5, err_msg=kind
        )


def test_gryphons_of_one_component_equal_the_eigenbasis(gryphons, gryphon_pair):
    other = bl.joint_reml(gryphon_pair)
    assert_allclose(gryphons.Sigma, [other.Gamma_u, other.Gamma_e], rtol=2e-5)
    assert_allclose(gryphons.loglik, other.loglik, atol=1e-6)


@pytest.mark.parametrize("parts", [("animal",), ("mother", "year"), ("animal", "mother", "year")])
def test_one_trait_equals_one_trait(dense_joint_records, parts):
    """Components at 0 among them: their names, and the errors of the others."""
    whole = dense_joint_records(1, 60)
    some = tuple(one for one in whole.components if one.name in parts)
    fit = joint_components_reml(joint_components(JointRecords(whole.traits, whole.Y, whole.X, whole.covariates, some)))
    alone = components_reml(fit.data.traits[0])
    assert fit.boundary == tuple(f"sigma2[{name}] = 0 of y1" for name in alone.boundary)
    assert_allclose(fit.sigma2[:, 0], alone.sigma2, rtol=1e-5, atol=1e-12)
    assert_allclose(fit.loglik, alone.loglik, atol=1e-9)
    assert_allclose(fit.beta[0], alone.beta, rtol=1e-6)
    for kind in KINDS.values():
        assert_allclose(fit.errors("sigma2", kind)[:, 0], alone.standard_errors(kind), rtol=1e-5, err_msg=kind)
        shares = [alone.share_error(name, kind=kind) for name in alone.names]
        assert_allclose(fit.errors("share", kind)[:, 0], shares, rtol=1e-5, err_msg=kind)
    for name, effects in alone.effects.items():
        assert_allclose(fit.effects[name][:, 0], effects, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("t", [2, 3])
def test_no_matrix_nearby_is_likelier(dense_joint_records, rng, t):
    """Few rows: matrices are singular; none in the cone around them has a higher density."""
    data = joint_components(dense_joint_records(t, 60))
    fit = joint_components_reml(data)
    assert (fit.rank < t).any()
    assert len(fit.boundary) > 0
    assert np.linalg.eigvalsh(fit.Sigma).min() > -1e-12
    unit = fit.Sigma / data.units
    for _ in range(60):
        L = rng.standard_normal(unit.shape) * 10 ** rng.uniform(-4, -0.5)
        towards = unit * (1 - rng.uniform(0, 0.2) * rng.integers(0, 2)) + L @ L.transpose(0, 2, 1)
        for size in (1e-1, 1e-2):
            Sigma = unit + size * (towards - unit)
            assert data.loglik(data.solver.at(Sigma)) < fit.loglik + 1e-8


def test_predictions_are_conditional_means(dense_joint_records):
    """Of all effects given the records, by the joint normal distribution written out."""
    data = joint_components(dense_joint_records(2))
    fit = joint_components_reml(data)
    records, known = data.records, data.records.known.T.ravel()
    K = [np.eye(len(one.levels)) if one.K is None else one.K for one in records.components]
    Z = [np.kron(np.eye(2), one.Z.toarray())[known] for one in records.components]
    V = np.kron(fit.Sigma[-1], np.eye(len(records.Y)))[np.ix_(known, known)]
    V += sum(z @ np.kron(Sigma, k) @ z.T for z, Sigma, k in zip(Z, fit.Sigma, K, strict=False))
    residual = np.concatenate([one.y - one.X @ beta for one, beta in zip(records.of_traits, fit.beta, strict=True)])
    for one, z, Sigma, k in zip(records.components, Z, fit.Sigma, K, strict=False):
        wanted = np.kron(Sigma, k) @ z.T @ np.linalg.solve(V, residual)
        assert_allclose(fit.effects[one.name].T.ravel(), wanted, rtol=1e-6, atol=1e-8)


def test_units_do_not_matter(dense_joint_records):
    records = dense_joint_records(2)
    other = JointRecords(records.traits, records.Y * [1e3, 1e-2], records.X, records.covariates, records.components)
    one, two = (joint_components_reml(joint_components(given)) for given in (records, other))
    unit = np.outer([1e3, 1e-2], [1e3, 1e-2])
    assert_allclose(two.Sigma, one.Sigma * unit, rtol=1e-6, atol=1e-9 * unit.min())
    assert_allclose(two.rho, one.rho, rtol=1e-6)
    assert two.boundary == one.boundary


def test_what_nothing_informs_is_unknown(dense_joint_records):
    """No row has both traits: the residual covariance is given as 0, its correlation as unknown."""
    records = dense_joint_records(2, 60)
    Y = np.where(np.arange(60)[:, None] % 2 == [0, 1], np.nan_to_num(records.Y, nan=2.0), np.nan)
    parts = records.components[:1]
    fit = joint_components_reml(joint_components(JointRecords(records.traits, Y, records.X, records.covariates, parts)))
    assert fit.Sigma[-1, 0, 1] == 0
    assert np.isnan([fit.rho[-1, 0, 1], fit.errors("rho")[-1, 0, 1], fit.errors("cov")[-1, 0, 1]]).all()
    assert np.isfinite(fit.errors("sigma2")[-1]).all()
