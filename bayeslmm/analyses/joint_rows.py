"""Results of several traits as rows of the one table of estimates: of a trait ``A``, and of a pair ``A:B``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.rows import OUTSIDE, beta_rows
from bayeslmm.analyses.table import Row, draws_row, joined, wald
from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.information import Kind
from bayeslmm.estimators.joint_information import errors_of_traits, joint_standard_errors, likelihood_interval
from bayeslmm.estimators.joint_moments import JointMoments
from bayeslmm.estimators.joint_reml import JointEstimate
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_whitened import SeveralTraits

JointFit = JointMoments | JointEstimate | DataTree
_ON_BOUNDARY = ("h2", "rho_u", "rho_e")


@dataclass(frozen=True)
class Place:
    """Where a row of `quantities.of_traits` stands: the name in the table, the parameter, the element."""

    trait: str
    parameter: str
    at: tuple[int, ...]


def places(traits: Sequence[str]) -> Iterator[Place]:
    """Yield the rows of a fit in their order: each trait, then each pair."""
    for j, trait in enumerate(traits):
        for parameter in quantities.OF_TRAIT:
            yield Place(trait, parameter, (j,))
    for j, k in combinations(range(len(traits)), 2):
        for parameter in quantities.OF_PAIR:
            yield Place(pair_name(traits, (j, k)), parameter, (j, k))


def pair_name(traits: Sequence[str], pair: tuple[int, int]) -> str:
    """Return how a pair of traits is written: ``A:B``."""
    return f"{traits[pair[0]]}:{traits[pair[1]]}"


def joint_rows_of(
    fit: JointFit,
    data: SeveralTraits,
    *,
    traits: Sequence[str],
    covariates: Sequence[Sequence[str]],
    overlaps: ndarray,
    se_kind: Kind,
) -> list[Row]:
    """Return the rows of a fit of several traits by any method.

    Args:
        fit: what the method returned.
        data: its data.
        traits: their names.
        covariates: for each trait the names of the columns of its X.
        overlaps: how many people have both traits of each pair.
        se_kind: which information gives the standard errors of REML.
    """
    match fit:
        case JointMoments():
            rows = _moments_rows(fit, traits)
        case JointEstimate():
            rows = _reml_rows(fit, data, traits, covariates, se_kind)
        case DataTree():
            rows = _nuts_rows(fit, traits, covariates)
    apart = {pair_name(traits, (j, k)) for j, k in combinations(range(len(traits)), 2) if overlaps[j, k] == 0}
    for row in rows:
        if row["trait"] in apart and row["parameter"] in ("rho_e", "rho_p", "cov_e"):
            row["note"] = joined("not identified: nobody has both traits", row["note"])
            if not isinstance(fit, DataTree):
                row |= {"estimate": np.nan, "se": np.nan, "lower": np.nan, "upper": np.nan, "interval": None}
    return rows


def _moments_rows(fit: JointMoments, traits: Sequence[str]) -> list[Row]:
    """Estimates as the equations give them; what lies outside the parameter space, or does not exist, is told."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = quantities.of_traits(fit.Gamma_u, fit.Gamma_e)
        errors = errors_of_traits(fit.Gamma_u, fit.Gamma_e, fit.unit_cov, fit.units)
    not_definite = f"{' and '.join(fit.outside)} not positive semi-definite" if fit.outside else ""
    rows: list[Row] = []
    for place in places(traits):
        value, se = float(values[place.parameter][place.at]), float(errors[place.parameter][place.at])
        negative = [
            f"{name} of {traits[j]} is negative"
            for name, Gamma in (("sigma2_u", fit.Gamma_u), ("sigma2_e", fit.Gamma_e))
            for j in place.at
            if Gamma[j, j] < 0 and not _other_matrix(place.parameter, name)
        ]
        beyond = place.parameter.startswith("rho") and abs(value) > 1
        outside = (
            f"undefined: {' and '.join(negative)}"
            if negative and np.isnan(value)
            else f"outside the parameter space: {' and '.join([*negative, *['beyond 1'] * beyond])}"
            if negative or beyond
            else ""
        )
        note = joined(outside or _wald_note(place, value, se), not_definite)
        common = {"trait": place.trait, "method": "mom", "parameter": place.parameter, "estimate": value, "note": note}
        rows.append(common | (wald(value, se) | {"se_kind": "exact"} if np.isfinite(value) else {}))
    return rows


def _other_matrix(parameter: str, variance: str) -> bool:
    """Whether a parameter has nothing to do with a variance: rho_u with sigma2_e."""
    return parameter[-2:] in ("_u", "_e") and parameter[-1] != variance[-1]


def _reml_rows(
    fit: JointEstimate, data: SeveralTraits, traits: Sequence[str], covariates: Sequence[Sequence[str]], se_kind: Kind
) -> list[Row]:
    """Wald intervals inside the parameter space; on its boundary likelihood intervals, of `_ON_BOUNDARY` only.

    What has no interval says why: each is of its own, and one that is not found does not take the others with it.
    """
    with np.errstate(invalid="ignore"):
        values = quantities.of_traits(fit.Gamma_u, fit.Gamma_e)
    errors, failed = {}, ""
    if not fit.boundary:
        try:
            errors = joint_standard_errors(fit, data, kind=se_kind)
        except AnalysisError as error:
            failed = f"no standard error: {error}"
    rows: list[Row] = []
    for place in places(traits):
        value = float(values[place.parameter][place.at])
        zero = [traits[j] for j in place.at if fit.unknown(place.parameter)[j]]
        apart = place.parameter == "rho_e" and fit.overlaps[place.at] == 0
        if zero:
            kind = "genetic" if place.parameter == "rho_u" else "residual"
            value = np.nan
            row: Row = {"note": f"not identified: the {kind} variance of {' and '.join(zero)} is estimated at 0"}
        elif fit.boundary:
            where = fit.boundary_of(traits)
            on_it = f"boundary: {where}, no standard error exists"
            row = {"note": on_it if _on_bound(fit, place) else f"no standard error exists: REML is on a bound, {where}"}
            if place.parameter in _ON_BOUNDARY and not apart:
                row = _likelihood_row(fit, data, place, row)
        elif failed:
            row = {"note": failed}
        else:
            se = float(errors[place.parameter][place.at])
            row = wald(value, se) | {"se_kind": se_kind, "note": _wald_note(place, value, se)}
        if place.parameter in _ON_BOUNDARY:
            row |= {"note": joined(row["note"], fit.others_of(traits))}
        rows.append({"trait": place.trait, "method": "reml", "parameter": place.parameter, "estimate": value} | row)
    for trait, names, beta, se_beta in zip(traits, covariates, fit.beta, fit.se_beta, strict=True):
        rows += beta_rows({"trait": trait, "method": "reml", "note": ""}, names, beta, se_beta)
    return rows


def _on_bound(fit: JointEstimate, place: Place) -> bool:
    """Whether a parameter is itself at a bound, where the estimate of something is."""
    at, kind = list(place.at), place.parameter[-2:]
    zero, one = bool(fit.at_zero[at].any()), bool(fit.at_one[at].any())
    if place.parameter == "h2":
        return zero or one
    if place.parameter == "rho_p":
        return False
    if place.parameter.startswith("sigma2"):
        return zero if kind == "_u" else one
    words, rho = ("genetic", fit.rho_u) if kind == "_u" else ("residual", fit.rho_e)
    singular = any(word.startswith(f"the {words}") for word in fit.boundary)
    return (zero if kind == "_u" else one) or singular or bool(abs(rho[place.at]) > 1 - 1e-4)


def _likelihood_row(fit: JointEstimate, data: SeveralTraits, place: Place, row: Row) -> Row:
    try:
        lower, upper = likelihood_interval(fit, data, place.parameter, place.at)  # pyright: ignore[reportArgumentType]
    except AnalysisError as error:
        return row | {"note": joined(row["note"], f"no interval: {error}")}
    everything = place.parameter != "h2" and (lower, upper) == (-1.0, 1.0)
    note = joined(row["note"], "no value of it is excluded" if everything else "")
    return row | {"lower": lower, "upper": upper, "interval": "profile95", "note": note}


def _nuts_rows(posterior: DataTree, traits: Sequence[str], covariates: Sequence[Sequence[str]]) -> list[Row]:
    """Means, standard deviations, equal-tailed intervals, bulk ESS and R-hat."""
    values = draws_of_traits(posterior)
    rows: list[Row] = []
    for place in places(traits):
        array = values[place.parameter][(..., *place.at)]
        rows.append(
            {"trait": place.trait, "method": "nuts", "parameter": place.parameter, "note": ""} | draws_row(array)
        )
    beta = posterior["posterior"]["beta"]
    for trait, names in zip(traits, covariates, strict=True):
        for name in names:
            array = beta.sel(coefficient=f"{trait}:{name}").to_numpy()
            row = {"trait": trait, "method": "nuts", "parameter": f"beta[{name}]", "note": ""}
            rows.append(row | draws_row(array))
    return rows


def draws_of_traits(posterior: DataTree) -> dict[str, ndarray]:
    """Return draws of everything in `quantities.of_traits`, shapes (chain, draw, t) or (chain, draw, t, t)."""
    draws = posterior["posterior"]
    return quantities.of_traits(draws["Gamma_u"].to_numpy(), draws["Gamma_e"].to_numpy())


def _wald_note(place: Place, value: float, se: float) -> str:
    interval = wald(value, se)
    least, most = {"h2": (0, 1), "rho": (-1, 1), "sig": (0, np.inf)}.get(place.parameter[:3], (-np.inf, np.inf))
    return OUTSIDE if interval["lower"] < least or interval["upper"] > most else ""
