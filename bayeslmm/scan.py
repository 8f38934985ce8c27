r"""Tests of markers under the mixed model, whole blocks of them at a time.

A block is Z: k arrays of rotated markers, one for each place in b sets of k (k = 1: single markers). To a model with
covariates, at one variance ratio, a set adds what is in the Schur complement of X,

.. math:: S = Z'PZ, \quad v = Z'Py, \quad P = V^{-1} - V^{-1}X (X'V^{-1}X)^{-1} X'V^{-1}:

the quadratic form falls by :math:`v'S^{-1}v`, the restricted likelihood has :math:`-\frac12 \log|S|` more, and the
effects are :math:`S^{-1}v` with covariance :math:`\sigma_p^2 S^{-1}`. S and v are matrix products over the block.
`FixedScan` needs them at given ratios. `ExactScan` finds the best ratio of each set: it takes them at Chebyshev points
of the ratio, and all that follows is on smooth functions of one variable.

Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, for the exact tests; Kang et al. (2010), doi:10.1038/ng.548, and
Lippert et al. (2011), doi:10.1038/nmeth.1681, for a ratio fixed at the null.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int64
from numpy import ndarray
from scipy.special import chdtrc, fdtrc

from bayeslmm.checks import InputError
from bayeslmm.design import independent
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.reml import reml
from bayeslmm.estimators.variance_ratio import whitened
from bayeslmm.likelihood import UnitScale, at_unit_scale, gls, log_ml, log_reml, rescale
from bayeslmm.precision import in_float64
from bayeslmm.ratio_grid import RatioGrid
from bayeslmm.small_matrices import cholesky, solve_lower
from bayeslmm.spectrum import RotatedData

COLLINEAR = 1e-8
"""A marker is taken for a combination of covariates, or of others in its set, if they leave this share of z'z."""


class Tests(NamedTuple):
    """Tests of b sets of k markers for one trait. NaN where a set adds nothing to the covariates.

    Attributes:
        beta: effects, in units of the trait for one unit of the marker, shape (b, k); those of least length where
            markers of a set depend on each other.
        se: their standard errors, shape (b, k); NaN for those that the data do not determine.
        p_wald: F test of each effect, at the ratio of the restricted likelihood, shape (b, k).
        p_lrt: likelihood-ratio test of the whole set by maximum likelihood, chi-square, shape (b,).
        p_score: score test of the whole set at the ratio of the fit without it by maximum likelihood, F, shape (b,).
        delta: sigma2_e / sigma2_u of beta and se, shape (b,).
        loglik: the log-likelihood with the set, behind p_lrt, shape (b,).
        df: rank of the set given the covariates, shape (b,).
    """

    beta: Float64[ndarray, "b k"]
    se: Float64[ndarray, "b k"]
    p_wald: Float64[ndarray, "b k"]
    p_lrt: Float64[ndarray, " b"]
    p_score: Float64[ndarray, " b"]
    delta: Float64[ndarray, " b"]
    loglik: Float64[ndarray, " b"]
    df: Int64[ndarray, " b"]


class Weights(NamedTuple):
    """P at m variance ratios and total variance 1: diag(W) - A A' at each.

    Attributes:
        W: diagonal of V^-1, shape (n, m).
        A: V^-1 X R with R R' = (X'V^-1X)^-1, shape (n, m, c).
    """

    W: Float64[ndarray, "n m"]
    A: Float64[ndarray, "n m c"]


class Model(NamedTuple):
    """One trait without markers, at the same ratios.

    Attributes:
        Py: shape (n, m).
        ml, reml: both likelihoods, arrays of shape (m,).
    """

    Py: Float64[ndarray, "n m"]
    ml: UnitScale
    reml: UnitScale


class Sets(NamedTuple):
    """Sets of markers with the same rank r given the covariates, as r independent columns each.

    Attributes:
        members: where they are in the block, shape (b,).
        columns: r arrays of shape (n, b).
        T: markers in terms of columns, so that beta = T (effects of columns), shape (k, r, b).
        log_det: log |Z'Z| of the columns, shape (b,).
    """

    members: Int64[ndarray, " b"]
    columns: list[Float64[ndarray, "n b"]]
    T: Float64[ndarray, "k r b"]
    log_det: Float64[ndarray, " b"]


class Gains(NamedTuple):
    """What sets add to a model, at each of m ratios and total variance 1.

    Attributes:
        quad: v'S^-1 v, shape (b, m).
        log_det: log |S|, shape (b, m).
        beta: effects, k arrays of shape (b, m).
        variance: of those effects, k arrays of shape (b, m).
    """

    quad: Float64[ndarray, "b m"]
    log_det: Float64[ndarray, "b m"]
    beta: list[Float64[ndarray, "b m"]]
    variance: list[Float64[ndarray, "b m"]]


@dataclass(frozen=True)
class ExactScan:
    """Tests with the variance ratio estimated anew with each set of markers; made by `exact_scan`.

    Attributes:
        X: covariates, orthonormal, shape (n, c).
        grid: Chebyshev points of the ratio.
        weights: at these points.
        models: of each trait, at these points.
        nulls: of each trait, the weights of the points at its ratio by maximum likelihood without markers, shape (m,).
    """

    X: Float64[ndarray, "n c"]
    grid: RatioGrid
    weights: Weights
    models: list[Model]
    nulls: list[Float64[ndarray, " m"]]

    def test(self, Z: Sequence[Float[ndarray, "n b"]]) -> list[Tests]:
        """Test b sets of markers, for each trait.

        Args:
            Z: rotated markers, one array for each place in the sets: ``[U'G]`` for single markers.
        """
        return _by_rank(self.X, Z, len(self.models), self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        r = len(sets.columns)
        L = _schur(self.weights, sets)
        tests = []
        for model, at_null in zip(self.models, self.nulls, strict=True):
            gains = _gains(model, sets, L)
            x = self.grid.argmax(_profile_reml(model, gains, sets, n - c - r))
            at_best = self.grid.basis(x)
            sigma2_p = np.exp(_rows(at_best, np.log(model.reml.quad - gains.quad))) / (n - c - r)
            # Logarithms are what is smooth: variances run over many orders of magnitude along the grid.
            beta = np.column_stack([_rows(at_best, values) for values in gains.beta])
            variance = np.column_stack([np.exp(_rows(at_best, np.log(values))) for values in gains.variance])
            profile = _profile_ml(model, gains.quad, n)
            loglik = _rows(self.grid.basis(self.grid.argmax(profile)), profile)
            share = (gains.quad / model.ml.quad) @ at_null
            h2, e2 = self.grid.shares(x)
            with np.errstate(divide="ignore"):  # delta is infinite where h2 is 0
                delta = e2 / h2
            se = np.sqrt(sigma2_p[:, None] * variance)
            gain = loglik - _profile_ml(model, np.zeros(len(at_null)), n) @ at_null
            tests.append(_to_tests(beta, se, delta, loglik, gain, share, sets, n, c))
        return tests


@dataclass(frozen=True)
class FixedScan:
    """Tests at variance ratios that do not depend on the marker; made by `null_scan` and `fixed_scan`.

    Each trait has two ratios, one after the other: for effects with Wald tests, and for the two other tests.

    Attributes:
        X: covariates, orthonormal, shape (n, c).
        back: from coefficients on X to those on the user's covariates, shape (user's c, c).
        offset: X'y of each trait, shape (c, t).
        weights: at the 2 t ratios.
        model: the traits at their ratios.
        delta: of each trait, for effects.
    """

    X: Float64[ndarray, "n c"]
    back: Float64[ndarray, "user c"]
    offset: Float64[ndarray, "c t"]
    weights: Weights
    model: Model
    delta: list[float]

    def test(self, Z: Sequence[Float[ndarray, "n b"]]) -> list[Tests]:
        """Test b sets of markers, for each trait; arguments as for `ExactScan.test`."""
        return _by_rank(self.X, Z, len(self.delta), self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        model, r = self.model, len(sets.columns)
        gains = _gains(model, sets, _schur(self.weights, sets))
        sigma2_p = (model.reml.quad - gains.quad) / (n - c - r)
        loglik = _profile_ml(model, gains.quad, n)
        gain = loglik - _profile_ml(model, np.zeros(len(model.ml.quad)), n)
        share = gains.quad / model.ml.quad
        tests = []
        for j in range(len(self.delta)):
            effects, others = 2 * j, 2 * j + 1
            beta = np.column_stack([values[:, effects] for values in gains.beta])
            variance = np.column_stack([values[:, effects] for values in gains.variance])
            se = np.sqrt(sigma2_p[:, [effects]] * variance)
            delta = np.full(len(beta), self.delta[j])
            tests.append(_to_tests(beta, se, delta, loglik[:, others], gain[:, others], share[:, others], sets, n, c))
        return tests

    def covariate_effects(self, z: Float[ndarray, "n b"], beta: Float[ndarray, "b t"]) -> list[Float64[ndarray, "b _"]]:
        """Return the effects of the covariates in the model with each marker, for each trait, shape (b, user's c).

        Args:
            z: rotated markers.
            beta: their effects on each trait, as tested.
        """
        overlap = self.X.T @ z
        left = _clear_of(self.X, z)
        effects = []
        for j in range(len(self.delta)):
            A, w, Py = self.weights.A[:, 2 * j], self.weights.W[:, 2 * j], self.model.Py[:, 2 * j]
            # With X'X = I: R = (A'X)^-1, so that R A' = (X'V^-1X)^-1 X'V^-1.
            shift = np.linalg.solve(A.T @ self.X, A.T @ left) + overlap
            alone = self.offset[:, j] - self.X.T @ (Py / w)
            effects.append((alone - shift.T * beta[:, [j]]) @ self.back.T)
        return effects


def added(whole: Tests, part: Tests) -> Float64[ndarray, " b"]:
    """Return p-values of the likelihood ratio of sets against parts of them; NaN where a set has no rank more.

    Args:
        whole: tests of the sets.
        part: tests, by the same scan, of some of their columns.
    """
    df = whole.df - part.df
    gain = np.where(part.df > 0, whole.loglik - part.loglik, np.nan)
    return np.where(df > 0, chdtrc(np.maximum(df, 1), np.maximum(2 * gain, 0.0)), np.nan)


@in_float64
def exact_scan(data: RotatedData) -> ExactScan:
    """Prepare tests of markers that estimate the variance ratio anew with each marker.

    Args:
        data: one or more traits of the same people; X may be of deficient rank.

    Raises:
        InputError: if h2 is not identified.
    """
    X, _ = independent(np.asarray(data.X))
    traits = [whitened(data._replace(Y=data.Y[:, [j]], X=X))[0] for j in range(data.Y.shape[1])]
    grid = RatioGrid(np.asarray(data.s))
    found = [_at(one, *grid.shares(grid.x)) for one in traits]
    models = [model for _, model in found]
    profiles = np.array([_profile_ml(model, np.zeros(len(grid.x)), len(data.s)) for model in models])
    nulls = list(grid.basis(grid.argmax(profiles)))
    return ExactScan(np.asarray(traits[0].X), grid, found[0][0], models, nulls)


def null_scan(data: RotatedData) -> FixedScan:
    """Prepare tests of markers at the variance ratio of the model without markers.

    The ratio is that of the restricted likelihood for effects and Wald tests, that of maximum likelihood for the
    other two.

    Args:
        data: one or more traits of the same people; X may be of deficient rank.

    Raises:
        InputError: if h2 is not identified.
    """
    return _fixed(data, lambda trait: (reml(trait).h2, ml(trait).h2))


def fixed_scan(data: RotatedData, h2: float) -> FixedScan:
    """Prepare tests of markers at a given h2; at 0 they are ordinary least squares, as if people were unrelated.

    Args:
        data: one or more traits of the same people; X may be of deficient rank.
        h2: at least 0 and below 1.

    Raises:
        InputError: if h2 is out of range.
    """
    if not 0 <= h2 < 1:
        raise InputError(f"h2 must be at least 0 and below 1, but {h2} was given")
    return _fixed(data, lambda _: (h2, h2))


@in_float64
def _fixed(data: RotatedData, h2_of: Callable[[RotatedData], tuple[float, float]]) -> FixedScan:
    basis, back = independent(np.asarray(data.X))
    traits = [data._replace(Y=data.Y[:, [j]], X=basis) for j in range(data.Y.shape[1])]
    clear = [whitened(trait) for trait in traits]
    ratios = [np.array(h2_of(trait)) for trait in traits]
    found = [_at(white, h2, 1 - h2) for (white, _, _), h2 in zip(clear, ratios, strict=True)]
    weights = Weights(*(np.concatenate(parts, axis=1) for parts in zip(*(weight for weight, _ in found), strict=True)))
    models = [model for _, model in found]
    ml, reml = (
        UnitScale(*(np.concatenate(parts) for parts in zip(*units, strict=True)))
        for units in ([model.ml for model in models], [model.reml for model in models])
    )
    white, R, _ = clear[0]
    return FixedScan(
        np.asarray(white.X),
        back @ np.linalg.inv(R),
        np.column_stack([b for _, _, b in clear]),
        weights,
        Model(np.concatenate([model.Py for model in models], axis=1), ml, reml),
        [float((1 - h2) / h2) if h2 else np.inf for h2, _ in ratios],
    )


def _at(white: RotatedData, h2: Float[ndarray, " m"], e2: Float[ndarray, " m"]) -> tuple[Weights, Model]:
    W, A, Py, ml, reml = jax.tree.map(np.asarray, _at_ratios(white, h2, e2))
    return Weights(W, A), Model(Py, ml, reml)


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0), out_axes=(1, 1, 1, 0, 0))
def _at_ratios(data: RotatedData, h2: Array, e2: Array) -> tuple[Array, Array, Array, UnitScale, UnitScale]:
    fit = gls(data, h2, e2)
    w = 1 / (h2 * jnp.asarray(data.s) + e2)
    Py = w * (data.Y[:, 0] - data.X @ fit.beta)
    ml, reml = (at_unit_scale(loglik, data, h2, e2) for loglik in (log_ml, log_reml))
    return w, w[:, None] * data.X @ jnp.linalg.cholesky(fit.cov), Py, ml, reml


def _by_rank(
    X: Float[ndarray, "n c"], Z: Sequence[Float[ndarray, "n b"]], t: int, test: Callable[[Sets], list[Tests]]
) -> list[Tests]:
    """Test the sets of each rank together, and put the results of each trait in order."""
    k, b = len(Z), Z[0].shape[1]

    def untested() -> Tests:
        of_effects, of_sets = ([np.full(shape, np.nan) for _ in range(4)] for shape in ((b, k), (b,)))
        return Tests(*of_effects[:3], *of_sets, df=np.zeros(b, dtype=np.int64))

    results = [untested() for _ in range(t)]
    for sets in _sets(X, Z):
        for whole, part in zip(results, test(sets), strict=True):
            for values, new in zip(whole, part, strict=True):
                values[sets.members] = new
    return results


def _sets(X: Float[ndarray, "n c"], Z: Sequence[Float[ndarray, "n b"]]) -> Iterator[Sets]:
    """Yield the sets of each rank above 0, as independent columns.

    The columns are combinations of markers along the leading singular vectors of Z'MZ, M = I - XX'. With them, the
    effects of markers that depend on each other are those of least length, whatever the variance ratio.
    """
    before = np.max([np.einsum("nb,nb->b", z, z) for z in Z], axis=0)
    left = [_clear_of(X, z) for z in Z]
    cross = np.array([[np.einsum("nb,nb->b", y, z) for y in left] for z in left]).transpose(2, 0, 1)
    sizes, vectors = np.linalg.eigh(cross)
    rank = (sizes > COLLINEAR * before[:, None]).sum(axis=1)
    for r in np.unique(rank[rank > 0]):
        members = np.flatnonzero(rank == r)
        T = vectors[members][:, :, ::-1][:, :, :r].transpose(1, 2, 0)
        own = left if members.size == rank.size else [z[:, members] for z in left]
        columns = own if len(Z) == 1 else [_total(z * T[i, j] for i, z in enumerate(own)) for j in range(r)]
        yield Sets(members, columns, T, np.log(sizes[members][:, ::-1][:, :r]).sum(axis=1))


def _clear_of(X: Float[ndarray, "n c"], z: Float[ndarray, "n b"]) -> Float[ndarray, "n b"]:
    """Return z less its projection on orthonormal X, with one temporary array."""
    projection = X @ (X.T @ z)
    return np.subtract(z, projection, out=projection)


def _schur(weights: Weights, sets: Sets) -> list[list[ndarray]]:
    """Return the Cholesky factor of S, r by r elements of shape (b, m)."""
    n, m, c = weights.A.shape
    ZA = [(z.T @ weights.A.reshape(n, m * c)).reshape(-1, m, c) for z in sets.columns]
    products = [[(z * y).T @ weights.W for y in sets.columns[: i + 1]] for i, z in enumerate(sets.columns)]
    return cholesky([[S - (ZA[i] * ZA[j]).sum(axis=2) for j, S in enumerate(row)] for i, row in enumerate(products)])


def _gains(model: Model, sets: Sets, L: list[list[ndarray]]) -> Gains:
    z = solve_lower(L, [column.T @ model.Py for column in sets.columns])
    of_markers = [solve_lower(L, [t[:, None] for t in row]) for row in sets.T]
    return Gains(
        quad=_total(part**2 for part in z),
        log_det=2 * _total(np.log(row[-1]) for row in L),
        beta=[_total(a * b for a, b in zip(z, own, strict=True)) for own in of_markers],
        variance=[_total(part**2 for part in own) for own in of_markers],
    )


def _profile_ml(model: Model, gain: Float[ndarray, "..."], n: int) -> Float[ndarray, "..."]:
    """Return the log-likelihood at each ratio, maximised over scale and effects."""
    quad = model.ml.quad - gain
    return rescale(UnitScale(model.ml.log_dets, quad), n, quad / n)


def _profile_reml(model: Model, gains: Gains, sets: Sets, k: int) -> Float[ndarray, "b m"]:
    """Return the restricted log-likelihood at each ratio, maximised over scale and effects."""
    constant = (sets.log_det[:, None] + len(sets.columns) * np.log(2 * np.pi)) / 2
    quad = model.reml.quad - gains.quad
    return rescale(UnitScale(model.reml.log_dets - gains.log_det / 2 + constant, quad), k, quad / k)


def _to_tests(
    beta: ndarray,
    se: ndarray,
    delta: ndarray,
    loglik: ndarray,
    gain: ndarray,
    share: ndarray,
    sets: Sets,
    n: int,
    c: int,
) -> Tests:
    r = len(sets.columns)
    determined = np.isclose((sets.T**2).sum(axis=1), 1).T
    se = np.where(determined, se, np.nan)
    return Tests(
        beta=beta,
        se=se,
        p_wald=fdtrc(1, n - c - r, (beta / se) ** 2),
        p_lrt=chdtrc(r, np.maximum(2 * gain, 0.0)),  # below 0 by rounding only
        p_score=fdtrc(r, n - c - r, n * share / r),
        delta=delta,
        loglik=loglik,
        df=np.full(len(beta), r),
    )


def _total(parts: Iterable[ndarray]) -> ndarray:
    return reduce(np.add, parts)


def _rows(weights: Float[ndarray, "b m"], values: Float[ndarray, "b m"]) -> Float[ndarray, " b"]:
    return np.einsum("bm,bm->b", weights, values)
