"""The heritability of thousands of traits of the same people: REML, the exact posterior and the exact test of each."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from scipy.stats import false_discovery_control

from bayeslmm.base.checks import AnalysisError, InputError, check_unique, examples
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.boundary import contrast_eigenvalues, reml_distribution
from bayeslmm.estimators.many_reml import ManyEstimates, many_reml
from bayeslmm.likelihood.many_traits import many_traits
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.ratio_lines import RatioLines, ratio_lines
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.posterior.many_exact import ManyPosteriors, many_posteriors

_QUANTITIES = ("h2", "pve", "sigma2_u", "sigma2_e")
_FLAT = 1e-7  # change of a log-likelihood over all ratios that is rounding
_MOST_ALONE = 20  # traits that fail one by one before all are given up
_POINTS = 76  # of the interpolants
_LOWEST, _HIGHEST = 0.5, 2.0  # mean diagonal of K of the people of a trait, relative to all: what the grids allow for


class Group(NamedTuple):
    """Traits that are analysed in one eigenbasis.

    Attributes:
        people: whose K it is of, shape (n,).
        traits: places of the traits, shape (t,).
    """

    people: Bool[ndarray, " n"]
    traits: Int64[ndarray, " t"]


def groups_of(missing: Bool[ndarray, "n t"], diagonal: Float[ndarray, " n"]) -> list[Group]:
    """Return which traits are analysed in the eigenbasis of all people, and which in one of their own.

    Both ways are exact. Missing values as columns of X cost, beside P of all people at each point of the interpolants,
    once, the decomposition of a matrix of their number at each point; an eigenbasis costs that of one of n. The way is
    chosen by operations, of which those on many small matrices take longer.

    Args:
        missing: where values are missing.
        diagonal: of K.
    """
    n, t = missing.shape
    sets: dict[bytes, list[int]] = {}
    for j in range(t):
        sets.setdefault(missing[:, j].tobytes(), []).append(j)
    own: list[Group] = []
    common: list[int] = []
    saved = 0.0
    for those in sets.values():
        there = ~missing[:, those[0]]
        m = n - int(there.sum())
        group = Group(there, np.array(those))
        if m == 0:
            common += those
            continue
        mean = diagonal[there].mean() / diagonal.mean() if m < n else np.nan
        gain = 30.0 * (n - m) ** 3 - 8.0 * _POINTS * (m**3 / 3 + float(m) * n * len(those))
        own.append(group)
        if gain > 0 and _LOWEST < mean < _HIGHEST:
            saved += gain
            common += those
    if saved <= 2.0 * _POINTS * float(n) ** 3:
        complete = [j for j in common if not missing[:, j].any()]
        rest = own
    else:
        complete, taken = common, set(common)
        rest = [group for group in own if group.traits[0] not in taken]
    return [*([Group(np.ones(n, dtype=bool), np.array(sorted(complete)))] if complete else []), *rest]


@in_float64
def many_heritabilities(
    spectrum: Spectrum,
    Y: Float[ndarray, "n t"],
    X: Float[ndarray, "n c"],
    *,
    names: tuple[str, ...] = (),
    prior: VariancePrior | None = None,
    level: float = 0.95,
    seed: int = 1,
) -> pd.DataFrame:
    """Estimate the heritability of each of many traits, each by itself.

    What `reml`, `exact.posterior` and `boundary` return of one trait, of all of them in array code. People without a
    value of a trait are left out for it.

    Args:
        spectrum: of the K of all people.
        Y: traits, NaN where a value is missing.
        X: covariates of all traits.
        names: of the traits; by default their numbers from 1.
        prior: of h2 and sigma2_p, as for `exact.posterior`.
        level: of the intervals of the posterior.
        seed: of the draws of the exact p-values.

    Returns:
        One row for each trait, indexed by its name:

        - n: values;
        - h2, pve, sigma2_u, sigma2_e, each with ``_mean``, ``_sd``, ``_lower`` and ``_upper`` (posterior, equal-tailed
          interval) and ``_reml``;
        - loglik_reml; boundary: which end of its range REML sits on, if it does; modes: how many maxima the restricted
          likelihood has;
        - log_evidence, log_bayes_factor: as `ExactPosterior` has them;
        - lrt, p: twice the gain of the restricted log-likelihood over h2 = 0, and its exact p-value, from 40,000 draws.
          Where traits with missing values share the eigenbasis of all people, the p-value is that of the statistic
          among all of them: the difference is far below the Monte Carlo error;
        - q: the p-values adjusted for the false discovery rate.

    Raises:
        InputError: if traits cannot be analysed, by name, or a prior lies outside its range.

    Source: Crainiceanu and Ruppert (2004), doi:10.1111/j.1467-9868.2004.00438.x (p); Benjamini and Hochberg (1995),
    doi:10.1111/j.2517-6161.1995.tb02031.x (q).
    """
    names = names or tuple(str(j + 1) for j in range(Y.shape[1]))
    check_unique(names, where="traits", what="name")
    missing = np.isnan(Y)
    _refuse_few(missing, X.shape[1], names)
    whole: Float[ndarray, "n n"] | None = None
    tables: list[pd.DataFrame] = []
    for group in groups_of(missing, np.square(spectrum.U) @ spectrum.s):
        of_group = spectrum
        if not group.people.all():
            whole = (spectrum.U * spectrum.s) @ spectrum.U.T if whole is None else whole
            of_group = decompose(whole[np.ix_(group.people, group.people)])
        called = tuple(names[j] for j in group.traits)
        values = Y[np.ix_(group.people, group.traits)]
        traits = many_traits(of_group, values, X[group.people], names=called)
        lines = ratio_lines(traits, of_group)
        _refuse_flat(lines, called)
        estimates, posteriors = many_reml(traits, lines), many_posteriors(traits, lines, prior, level=level)
        null = reml_distribution(contrast_eigenvalues(traits.data), seed=seed)
        table = _table(estimates, posteriors, (~np.isnan(values)).sum(axis=0), called)
        table["p"] = null.p_values(estimates.likelihood_ratio)
        tables.append(table)
    found = pd.concat(tables).loc[list(names)]
    found["q"] = false_discovery_control(found["p"])
    return found


class Survivors(NamedTuple):
    """Traits of which some could not be analysed.

    Attributes:
        estimates: of the others, as `many_heritabilities` has them.
        refused: why, by name.
    """

    estimates: pd.DataFrame
    refused: dict[str, str]


def those_that_can(
    spectrum: Spectrum, Y: Float[ndarray, "n t"], X: Float[ndarray, "n c"], *, names: tuple[str, ...], **settings: Any
) -> Survivors:
    """Analyse many traits, and leave out those that cannot be: each takes no other with it.

    Args:
        spectrum: as for `many_heritabilities`.
        Y: as there.
        X: as there.
        names: of the traits.
        **settings: as there.

    Raises:
        InputError: if names repeat, or what is wrong concerns all traits.
    """
    check_unique(names, where="traits", what="name")
    refused: dict[str, str] = {}
    there, c = ~np.isnan(Y), X.shape[1]
    counts = there.sum(axis=0)
    for j in np.flatnonzero(counts < c + 2):
        refused[names[j]] = f"it has {counts[j]} values, but at least {c + 2} are needed for {c} covariates"
    left = [j for j, name in enumerate(names) if name not in refused]
    lowest, highest = np.nanmin(Y[:, left], axis=0), np.nanmax(Y[:, left], axis=0)
    for j in np.flatnonzero(lowest == highest):
        refused[names[left[j]]] = f"it is {lowest[j]:g} for all {counts[left[j]]} individuals: it has no variation"
    tables: list[pd.DataFrame] = []
    alone = 0
    stack = [[j for j, name in enumerate(names) if name not in refused]]
    while stack:
        part = stack.pop()
        if not part:
            continue
        try:
            called = tuple(names[j] for j in part)
            values = Y if len(part) == Y.shape[1] else Y[:, part]  # all of them without a copy
            tables.append(many_heritabilities(spectrum, values, X, names=called, **settings))
        except (InputError, AnalysisError) as error:
            if len(part) == 1:  # anything else is found in halves
                refused[names[part[0]]], alone = str(error), alone + 1
            if not tables and alone == _MOST_ALONE:
                raise InputError(f"the first {alone} of {len(names)} traits cannot be analysed: {error}") from None
            stack += [part[len(part) // 2 :], part[: len(part) // 2]] if len(part) > 1 else []
    if not tables:
        name, why = next(iter(refused.items()))
        raise InputError(f"none of the {len(names)} traits can be analysed: {name}: {why}")
    found = pd.concat(tables)
    found = found.loc[[name for name in names if name in found.index]]
    found["q"] = false_discovery_control(found["p"])
    return Survivors(found, {name: refused[name] for name in names if name in refused})


def _table(estimates: ManyEstimates, posteriors: ManyPosteriors, n: ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    columns: dict[str, ndarray] = {"n": n}
    for name in _QUANTITIES:
        of_posterior = getattr(posteriors, name)._asdict()
        columns |= {f"{name}_{what}": values for what, values in of_posterior.items()}
        columns[f"{name}_reml"] = getattr(estimates, name)
    columns["loglik_reml"] = estimates.loglik
    columns["boundary"] = np.select([estimates.at_zero, estimates.at_one], ["h2 = 0", "h2 = 1"], "")
    columns["modes"] = estimates.modes
    columns["log_evidence"], columns["log_bayes_factor"] = posteriors.log_evidence, posteriors.log_bayes_factor
    columns["lrt"] = estimates.likelihood_ratio
    return pd.DataFrame(columns, index=pd.Index(names, name="trait"))


def _refuse_few(missing: Bool[ndarray, "n t"], c: int, names: tuple[str, ...]) -> None:
    few = np.flatnonzero((~missing).sum(axis=0) < c + 2)
    if few.size:
        raise InputError(
            f"each trait needs at least {c + 2} values for {c} covariates, but {few.size} have fewer "
            f"({examples(names[j] for j in few)}): leave them out"
        )


def _refuse_flat(lines: RatioLines, names: tuple[str, ...]) -> None:
    """Refuse traits of which the people who have a value are all equally related."""
    values = lines.near.evaluate(lines.profile(), np.broadcast_to(lines.near.x, (len(names), len(lines.near.x))))
    flat = np.flatnonzero(np.ptp(values, axis=1) < _FLAT)
    if flat.size:
        raise InputError(
            f"the likelihood of {flat.size} traits ({examples(names[j] for j in flat)}) does not depend on h2: given "
            "the covariates, the people who have a value are all equally related: leave them out"
        )
