"""V of several traits against the formula, on few records; the log-likelihood against the normal density."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.joint_records import JointRecords
from bayeslmm.cohort.records import grouped
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.joint_components import joint_components


def matrices(rng, k, t):
    """Return k covariance matrices near 1, the last but one of them singular."""
    L = rng.standard_normal((k, t, t)) / 2
    L[-2, :, 1:] = 0
    return L @ L.transpose(0, 2, 1) + 0.1 * np.eye(t) * (np.arange(k) == k - 1)[:, None, None]


class Formula:
    """V of all elements, P and what follows from them, written out record by record."""

    def __init__(self, data, Sigma):
        records, t = data.records, data.t
        where = [(a, i) for a in range(t) for i in np.flatnonzero(~np.isnan(records.Y[:, a]))]
        trait, row = np.array(where).T
        K = [one.covariance() for one in data.parts[:-1]]
        K.append(np.eye(len(records.Y)))
        self.parts = []
        for C in K:
            for a in range(t):
                for c in range(a, t):
                    both = (trait[:, None] == a) & (trait == c) | (trait[:, None] == c) & (trait == a)
                    self.parts.append(both * C[np.ix_(row, row)])
        elements = [one[a, c] for one in Sigma for a in range(t) for c in range(a, t)]
        self.V = sum(value * part for value, part in zip(elements, self.parts, strict=True))
        self.y, X = data.solver.y, data.solver.X
        inverse = np.linalg.inv(self.V)
        self.cov_beta = np.linalg.inv(X.T @ inverse @ X)
        self.beta = self.cov_beta @ X.T @ inverse @ self.y
        self.P = P = inverse - inverse @ X @ self.cov_beta @ X.T @ inverse
        self.log_dets = np.linalg.slogdet(self.V)[1] - np.linalg.slogdet(self.cov_beta)[1]
        Py = P @ self.y
        self.quad = self.y @ Py
        VPy = np.column_stack([part @ Py for part in self.parts])
        self.quads = VPy.T @ Py
        self.average = VPy.T @ P @ VPy / 2
        self.traces = np.array([np.trace(P @ part) for part in self.parts])
        PV = [P @ part for part in self.parts]
        self.expected = np.array([[np.trace(A @ B) / 2 for B in PV] for A in PV])


@pytest.mark.parametrize("t", [1, 2, 3])
def test_v_equals_the_formula(dense_joint_records, rng, t):
    data = joint_components(dense_joint_records(t))
    Sigma = matrices(rng, len(data.names), t)
    solved, formula = data.solver.at(Sigma), Formula(data, Sigma)
    for name in ("log_dets", "quad", "beta", "cov_beta", "quads", "traces", "average", "expected"):
        value, wanted = np.asarray(getattr(solved, name)), np.asarray(getattr(formula, name))
        assert_allclose(value, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max(), err_msg=name)


def test_the_loglik_is_the_density_of_error_contrasts(dense_joint_records, rng):
    """In the user's units: of A'y with orthonormal A'X = 0."""
    data = joint_components(dense_joint_records(2))
    records, Sigma = data.records, matrices(rng, len(data.names), 2)
    V = Formula(data, Sigma).V * np.outer(
        *[np.repeat([one.sd for one in data.traits], [one.n for one in data.traits])] * 2
    )
    X = np.zeros((len(V), data.solver.X.shape[1]))
    at = [0, 0]
    for one in records.of_traits:
        X[at[0] : at[0] + len(one.y), at[1] : at[1] + one.X.shape[1]] = one.X
        at = [at[0] + len(one.y), at[1] + one.X.shape[1]]
    A = np.linalg.svd(X)[0][:, X.shape[1] :]
    y = np.concatenate([one.y for one in records.of_traits])
    wanted = scipy.stats.multivariate_normal(cov=A.T @ V @ A).logpdf(A.T @ y)
    assert_allclose(data.loglik(data.solver.at(Sigma)), wanted, rtol=1e-9)


def test_one_trait_is_one_trait(dense_joint_records, rng):
    data = joint_components(dense_joint_records(1))
    Sigma = matrices(rng, len(data.names), 1)
    alone = components(data.records.of_traits[0])
    assert_allclose(data.loglik(data.solver.at(Sigma)), alone.loglik(alone.equations.at(Sigma.ravel())), rtol=1e-11)


def test_traits_without_covariances_are_independent(dense_joint_records, rng):
    data = joint_components(dense_joint_records(3))
    variances = rng.uniform(0.1, 1, (len(data.names), 3))
    found = data.loglik(data.solver.at(np.array([np.diag(row) for row in variances])))
    wanted = [one.loglik(one.equations.at(theta)) for one, theta in zip(data.traits, variances.T, strict=True)]
    assert_allclose(found, sum(wanted), rtol=1e-11)


def test_covariances_that_nothing_informs(dense_joint_records):
    """No row has both traits, and no mother has offspring with both: relatives and years alone inform a covariance."""
    whole = dense_joint_records(2)
    n = len(whole.Y)
    Y = np.where(np.arange(n)[:, None] % 2 == [0, 1], np.nan_to_num(whole.Y, nan=1.0), np.nan)
    mothers = [f"{i % 2}{j}" for i, j in enumerate(np.random.default_rng(1).integers(0, 8, n))]
    parts = (*(one for one in whole.components if one.name != "mother"), grouped("mother", mothers))
    informed = JointRecords(whole.traits, Y, whole.X, whole.covariates, parts).informed
    assert dict(zip([*(one.name for one in parts), "e"], informed[:, 0, 1].tolist(), strict=True)) == {
        "animal": True, "year": True, "mother": False, "e": False,
    }  # fmt: skip
    assert informed[:, 0, 0].all()


def test_records_that_no_model_fits_are_refused(dense_joint_records):
    good = dense_joint_records(2)
    parts, X, names = good.components, good.X, good.covariates
    Y = good.Y.copy()
    Y[4] = np.nan
    with pytest.raises(InputError, match="row 5 of Y lacks all traits"):
        JointRecords(good.traits, Y, X, names, parts)
    with pytest.raises(InputError, match="2 columns, but there are 3 names of traits"):
        JointRecords(("a", "b", "c"), good.Y, X, names, parts)
    one = (np.ones((len(Y), 1)),) * 2
    with pytest.raises(InputError, match="trait y1: component 'mother' cannot be told from the residual"):
        JointRecords(good.traits, good.Y, one, (("intercept",),) * 2, (grouped("mother", list(range(len(Y)))),))
    known = ~np.isnan(good.Y[:, 0])
    twice, some = good.Y[known, 0], tuple(one.take(known) for one in parts)
    with pytest.raises(InputError, match="b2 is b1 again, or a multiple of it"):
        joint_components(
            JointRecords(("b1", "b2"), np.column_stack([twice, 2 * twice]), (X[0][known],) * 2, (names[0],) * 2, some)
        )


def test_covariances_that_are_told_only_together_are_refused(rng):
    """Only mothers with one row have both traits: what they and the residual do to both is the same."""
    mothers = np.concatenate([np.arange(10), np.repeat(np.arange(10, 20), 3)])
    Y, one = rng.standard_normal((len(mothers), 2)), np.ones((len(mothers), 1))
    Y[10:25, 0] = Y[25:, 1] = np.nan
    with pytest.raises(InputError, match="the covariances of a and b through mother, e cannot be told apart"):
        JointRecords(("a", "b"), Y, (one, one), (("intercept",),) * 2, (grouped("mother", mothers.tolist()),))
