"""Restricted maximum likelihood of several traits: all elements of two covariance matrices at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_moments import moment_solutions, overlaps
from bayeslmm.estimators.joint_search import FLOOR, End, SearchError, covariances, factors, log_reml_at, maximise
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_products import effects_of
from bayeslmm.likelihood.joint_whitened import JointWhitened, SeveralTraits, check_distinct, joint_whitened

_SINGULAR = 1e-5  # an eigenvalue below it, in units of phenotypic variances, is 0
_SAME = 1e-5  # what a search cannot tell in a log-likelihood
_RATIOS = np.geomspace(1e5, DELTA_MIN, 41)  # sigma2_e / sigma2_u where modes of single traits are looked for
_STARTS = 8


class Mode(NamedTuple):
    """A maximum of the likelihood.

    Attributes:
        loglik: its height.
        Gamma_u, Gamma_e: where it is, shape (t, t).
    """

    loglik: float
    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]

    @property
    def h2(self) -> Float64[ndarray, " t"]:
        """Heritability of each trait."""
        return quantities.h2(np.diag(self.Gamma_u), np.diag(self.Gamma_e))


@dataclass(frozen=True)
class JointEstimate:
    """Point estimates of several traits by the restricted likelihood of all their records.

    Attributes:
        Gamma_u, Gamma_e: genetic and residual covariance matrices, shape (t, t); an element of Gamma_e that no
            individual informs (`overlaps`) is given as 0.
        overlaps: how many individuals have both traits of each pair, shape (t, t); the diagonal counts records.
        loglik: the restricted log-likelihood, in the convention of `likelihood.log_reml`.
        beta: fixed effects of each trait, shapes (c_j,).
        se_beta: their standard errors at these covariance matrices.
        n: individuals.
        boundary: which bounds the estimate sits on, with {0}, {1}, ... for the traits (`boundary_of` names them); empty
            inside the parameter space.
        at_zero: which traits have a genetic variance of 0, exactly so in Gamma_u, shape (t,).
        at_one: which have a residual variance of `FLOOR` times the genetic one, where the search ends, shape (t,).
        others: lower maxima of the likelihood that the search found beside this one, highest first.
    """

    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    overlaps: Float64[ndarray, "t t"]
    loglik: float
    beta: tuple[Float64[ndarray, " _"], ...]
    se_beta: tuple[Float64[ndarray, " _"], ...]
    n: int
    boundary: tuple[str, ...]
    at_zero: Bool[ndarray, " t"]
    at_one: Bool[ndarray, " t"]
    others: tuple[Mode, ...] = ()

    @property
    def h2(self) -> Float64[ndarray, " t"]:
        """Heritability of each trait."""
        return quantities.h2(np.diag(self.Gamma_u), np.diag(self.Gamma_e))

    @property
    def rho_u(self) -> Float64[ndarray, "t t"]:
        """Genetic correlations; NaN beside a trait whose genetic variance is 0."""
        return self._known(self.Gamma_u, self.at_zero)

    @property
    def rho_e(self) -> Float64[ndarray, "t t"]:
        """Residual correlations; NaN beside a trait whose residual variance is where the search ends."""
        return self._known(self.Gamma_e, self.at_one)

    def unknown(self, parameter: str) -> Bool[ndarray, " t"]:
        """Return beside which traits a correlation is a ratio of zeros, shape (t,)."""
        return {"rho_u": self.at_zero, "rho_e": self.at_one}.get(parameter, np.zeros(len(self.at_zero), dtype=bool))

    def boundary_of(self, traits: Sequence[str]) -> str:
        """Say which bounds the estimate sits on, given the names of the traits."""
        return " and ".join(words.format(*traits) for words in self.boundary)

    def others_of(self, traits: Sequence[str]) -> str:
        """Say where the likelihood has other maxima, given the names of the traits; nothing if it has none."""
        words = [
            f"{self.loglik - mode.loglik:.2g} lower at "
            + ", ".join(f"h2 = {h2:.3f} of {trait}" for h2, trait in zip(mode.h2, traits, strict=True))
            for mode in self.others
        ]
        return f"the likelihood has another maximum, {' and one '.join(words)}" if words else ""

    def _known(self, Gamma: ndarray, unknown: ndarray) -> Float64[ndarray, "t t"]:
        with np.errstate(invalid="ignore"):
            rho = quantities.correlation(Gamma)
        return np.where(unknown[:, None] | unknown, np.nan, rho)


@in_float64
def joint_reml(data: SeveralTraits) -> JointEstimate:
    """Estimate the covariance matrices of several traits by restricted maximum likelihood.

    All records count: a missing value enters as a fixed effect of its own cell, which is exact
    (`likelihood.joint_log_reml`), at a cost of O(n C^2) for one evaluation with C covariates and missing values.

    The search starts at the moments and at every combination of the modes that single traits have, and the highest
    end is taken.

    Args:
        data: the traits in the eigenbasis.

    Raises:
        InputError: if a trait has nothing left to explain, or is a combination of others, or its individuals are all
            equally related.
        SearchError: if no maximum is found.

    Source: Meyer (1991), doi:10.1186/1297-9686-23-1-67, for the Cholesky factors.
    """
    whitened = joint_whitened(data)
    data, sd = whitened.given, whitened.sd
    t = len(sd)
    check_distinct(whitened.data, [f"trait {j + 1}" for j in range(t)])
    both = overlaps(whitened.data)
    best, *lower = _modes(whitened)
    unit_u, unit_e, zero, one = _settled(whitened, best)
    b, root = effects_of(whitened.products.at(unit_u[None], unit_e[None]).root[0], t)
    cov = np.linalg.inv(root @ root.T)
    beta, se_beta, at = [], [], 0
    for j in range(t):
        c = data.X[j].shape[1]
        inverse = np.linalg.inv(whitened.R[j])
        beta.append(inverse @ (b[at : at + c] * sd[j] + whitened.b[j]))
        se_beta.append(np.sqrt(np.diag(inverse @ cov[at : at + c, at : at + c] @ inverse.T)) * sd[j])
        at += c

    def in_users_units(mode: Mode) -> Mode:
        Gamma_e = np.where(both > 0, mode.Gamma_e * whitened.unit_e, 0.0)
        return Mode(mode.loglik - whitened.log_units, mode.Gamma_u * whitened.unit_u, Gamma_e)

    loglik, Gamma_u, Gamma_e = in_users_units(Mode(log_reml_at(whitened, unit_u, unit_e), unit_u, unit_e))
    return JointEstimate(
        Gamma_u=Gamma_u,
        Gamma_e=Gamma_e,
        overlaps=both,
        loglik=loglik,
        beta=tuple(beta),
        se_beta=tuple(se_beta),
        n=data.n,
        boundary=_boundary(unit_u, unit_e, zero, one, both),
        at_zero=zero,
        at_one=one,
        others=tuple(in_users_units(mode) for mode in lower),
    )


def _modes(white: JointWhitened) -> list[Mode]:
    """Return the maxima that searches from several places end at, the highest first.

    Raises:
        SearchError: if no search converges.
    """
    moments = moment_solutions(white.data)
    starts = [factors(moments.Gamma_u, moments.Gamma_e)]
    starts += [factors(*diagonals, least=1e-3, most=np.inf) for diagonals in _modes_apart(white)]
    ends, failures = [], []
    for start in starts:
        try:
            ends.append(maximise(white, start))
        except SearchError as error:
            failures.append(error)
    if not ends:
        raise failures[0]
    modes: list[Mode] = []
    for end in sorted(ends, key=lambda end: -end.loglik):
        mode = _mode_of(white, end)
        if modes and not _is_apart(mode, modes):
            continue
        if modes:
            # A search can stop at a saddle, where an element of a factor is 0: a real maximum is come back to.
            try:
                mode = _mode_of(white, maximise(white, factors(mode.Gamma_u, mode.Gamma_e, least=1e-3, most=np.inf)))
            except SearchError:
                continue
            if not _is_apart(mode, modes):
                continue
        modes.append(mode)
    return sorted(modes, key=lambda mode: -mode.loglik)


def _is_apart(mode: Mode, others: Sequence[Mode]) -> bool:
    """Whether a maximum is none of the others: its heritabilities or its height differ by more than searches do."""
    return all(np.abs(mode.h2 - other.h2).max() > 0.02 or abs(mode.loglik - other.loglik) > 0.01 for other in others)


def _mode_of(white: JointWhitened, end: End) -> Mode:
    return Mode(end.loglik, *(np.asarray(Gamma) for Gamma in covariances(end.theta, len(white.sd))))


def _modes_apart(white: JointWhitened) -> list[tuple[ndarray, ndarray]]:
    """Return diagonal matrices at the combinations of the modes of single traits, at most `_STARTS`, best first."""
    combined = sorted(product(*_modes_of_each(white)), key=lambda modes: -sum(loglik for loglik, _, _ in modes))
    return [(np.diag([u for _, u, _ in one]), np.diag([e for _, _, e in one])) for one in combined[:_STARTS]]


def _modes_of_each(white: JointWhitened) -> list[list[tuple[float, float, float]]]:
    """Return for each trait the local maxima on a grid of its restricted likelihood, as (loglik, sigma2_u, sigma2_e).

    Where no traits are correlated the Cholesky factor of all consists of those of each.

    Source: `likelihood.rescale`, for the scale at each ratio of the variances.
    """
    products = white.products
    t, found = products.t, [list[tuple[float, float, float]]() for _ in range(products.t)]
    for ratio in _RATIOS:
        h2, e2 = 1 / (1 + ratio), ratio / (1 + ratio)
        (root,) = products.roots(h2 * np.eye(t)[None], e2 * np.eye(t)[None])
        for j, of_trait in enumerate(found):
            if root is None:
                of_trait.append((-np.inf, h2, e2))
                continue
            pivots = root.diagonal()[products.trait_of == j]
            k = products.n - len(pivots) + 1
            sigma2_p = max(float(pivots[-1] ** 2), np.finfo(float).tiny) / k
            log_det_v = (np.log(h2 * products.s + e2) * products.counts).sum()
            loglik = -(log_det_v + 2 * np.log(pivots[:-1]).sum() + k * np.log(sigma2_p)) / 2
            of_trait.append((float(loglik), h2 * sigma2_p, e2 * sigma2_p))
    return [_peaks(of_trait) for of_trait in found]


def _peaks(along: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    height = np.array([-np.inf, *(loglik for loglik, _, _ in along), -np.inf])
    peaks = (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
    return [along[i] for i in np.flatnonzero(peaks)]


def _settled(white: JointWhitened, mode: Mode) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Set to exactly 0 what a search cannot tell from 0; return both matrices, and which traits are at h2 = 0 and 1.

    A search ends beside a bound, not on it: what is left of a variance there is rounding, and a correlation made of
    it would be one of rounding errors.
    """
    t = len(mode.Gamma_u)
    free = {"u": mode.Gamma_u, "e": mode.Gamma_e - FLOOR * mode.Gamma_u}
    without = {"u": np.zeros(t, dtype=bool), "e": np.zeros(t, dtype=bool)}

    def accept(name: str, Gamma: ndarray) -> bool:
        nonlocal free
        changed = free | {name: Gamma}
        holds = log_reml_at(white, changed["u"], changed["e"] + FLOOR * changed["u"]) >= mode.loglik - _SAME
        free = changed if holds else free
        return holds

    total = np.sqrt(np.diag(mode.Gamma_u + mode.Gamma_e))
    for name, j in product(("u", "e"), range(t)):
        kept = np.arange(t) != j
        without[name][j] = accept(name, free[name] * np.outer(kept, kept))
    for name in ("u", "e"):
        values, vectors = np.linalg.eigh(free[name] / np.outer(total, total))
        nothing = values < _SINGULAR
        if nothing.sum() > without[name].sum():
            accept(name, vectors * np.where(nothing, 0.0, values) @ vectors.T * np.outer(total, total))
    Gamma_u = free["u"] + 0.0  # no -0
    return Gamma_u, free["e"] + FLOOR * Gamma_u, without["u"], without["e"]


def _boundary(
    Gamma_u: Float64[ndarray, "t t"],
    Gamma_e: Float64[ndarray, "t t"],
    zero: Bool[ndarray, " t"],
    one: Bool[ndarray, " t"],
    both: Float64[ndarray, "t t"],
) -> tuple[str, ...]:
    total = np.sqrt(np.diag(Gamma_u + Gamma_e))
    words = [f"h2 = 0 of {{{j}}}" for j in np.flatnonzero(zero)]
    words += [f"h2 = 1 of {{{j}}}" for j in np.flatnonzero(one)]
    for kind, name, Gamma, without in (
        ("genetic", "rho_u", Gamma_u, zero),
        ("residual", "rho_e", Gamma_e - FLOOR * Gamma_u, one),
    ):
        if name == "rho_e" and not both.all():
            # What nobody informs says nothing of the rank.
            Gamma = np.diag(np.diag(Gamma))
        there = np.flatnonzero(~without)
        part = (Gamma / np.outer(total, total))[np.ix_(there, there)]
        if len(there) and np.linalg.eigvalsh(part)[0] < _SINGULAR:
            words += _singular(kind, name, Gamma, there)
    return tuple(words)


def _singular(kind: str, name: str, Gamma: Float64[ndarray, "t t"], there: ndarray) -> list[str]:
    rho = quantities.correlation(Gamma[np.ix_(there, there)])
    extreme = [(j, k) for j, k in zip(*np.triu_indices(len(rho), 1), strict=True) if abs(rho[j, k]) > 1 - 1e-4]
    pairs = [f"{name} = {np.sign(rho[j, k]):.0f} of {{{there[j]}}} and {{{there[k]}}}" for j, k in extreme]
    return pairs or [f"the {kind} correlation matrix is singular"]
