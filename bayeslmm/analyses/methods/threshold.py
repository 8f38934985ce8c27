"""The posterior of the threshold model of a trait of two values, by NUTS."""

import os
import warnings
from dataclasses import replace

import numpy as np

from bayeslmm.analyses.method import Drawn, Method, TraitRequest
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row, draws_row
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.defaults import CHAINS, DRAWS, WARMUP
from bayeslmm.estimators.liability import two_values
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.two_values import TwoValues
from bayeslmm.models import threshold
from bayeslmm.posterior.threshold_geometry import check_overlap

MOST = 3_000
"""Individuals: each gradient costs n^2, and with more of them draws take hours."""
_SECONDS = 2.5e-9 * 31  # of a step for each element of K, with 31 gradients, measured with 1,410 mice
_MINUTES = 10  # that are said
_ODDS = 1.5  # by which cases may be more or less frequent than in the population


def _fit(request: TraitRequest) -> Drawn:
    cohort, spectrum = request.cohort, request.spectrum
    if cohort is None or spectrum is None:
        raise InputError("the method threshold works on the values of individuals, and needs cohort and spectrum")
    if cohort.transform:
        raise InputError("the method threshold is about the values of a trait as they are: leave out transform")
    y, X = request.measured(cohort)
    _, case = two_values(y[:, 0], request.trait, who="the method threshold")
    _check_size(len(y), request)
    data = TwoValues.of(spectrum, y[:, 0] == case, X)
    check_overlap(data, request.covariates, request.prior or VariancePrior())
    if about := _ascertained(request):
        warnings.warn(f"{request.trait}: {about}", InputWarning, stacklevel=2)
    attrs = None if request.own else request.attrs  # those of the user's program
    return replace(request, program=threshold, attrs=attrs).draw(data, {"covariate": list(request.covariates)})


def _check_size(n: int, request: TraitRequest) -> None:
    """Refuse more individuals than can be waited for, and say how long fewer take if that is long.

    Raises:
        InputError: for more than 3,000.
    """
    chains, draws, warmup = (
        int(request.settings.get(name, default))
        for name, default in (("chains", CHAINS), ("draws", DRAWS), ("warmup", WARMUP))
    )
    minutes = _SECONDS * n**2 * chains * (draws + warmup) / min(chains, os.cpu_count() or 1) / 60
    words = f"the threshold model of {n:,} individuals takes about {minutes:,.0f} minutes here"
    if n > MOST:
        raise InputError(f"{words}, and is for at most {MOST:,}: give a prevalence to the other methods in its place")
    if minutes > _MINUTES:
        warnings.warn(words, InputWarning, stacklevel=2)


def _ascertained(request: TraitRequest) -> str:
    """Return what to know if cases are not as frequent as in the population, if that is known."""
    liability = request.liability
    if liability is None:
        return ""
    odds = [share / (1 - share) for share in (liability.share, liability.prevalence)]
    if max(odds) < _ODDS * min(odds):
        return ""
    return (
        f"{liability.share:.3g} of those analysed are cases, {liability.prevalence:.3g} of the population: the "
        "threshold model takes the sample for the population, and its h2 is biased; use that of the other methods"
    )


def _rows(fit: Drawn, request: TraitRequest) -> list[Row]:
    sites = fit.posterior["posterior"]
    draws = {name: sites[name].to_numpy() for name in ("h2_liability", "sigma2_u_liability")}
    for name in request.covariates:
        draws[f"beta_liability[{name}]"] = sites["beta_liability"].sel(covariate=name).to_numpy()
    about = _ascertained(request)
    notes = {"h2_liability": (Note("meaningless", about),)} if about else {}
    rows = [draws_row(request.trait, name, np.asarray(values), *notes.get(name, ())) for name, values in draws.items()]
    return [replace(row, method="threshold") for row in rows]


METHOD = Method(
    name="threshold", label="threshold", spread="sd", rank=10, order=10,
    fit=_fit, rows=_rows, needs="two values", of_individuals=True,
    sources=(
        Source("Wright (1934)", "10.1093/genetics/19.6.506", "the threshold model"),
        Source("Albert and Chib (1993)", "10.1080/01621459.1993.10476321", "its posterior"),
        Source("Hoffman and Gelman (2014)", "JMLR 15:1593", "NUTS"),
        Source("Phan et al. (2019)", "arXiv:1912.11554", "NumPyro"),
        Source("Vehtari et al. (2021)", "10.1214/20-BA1221", "R-hat and effective sample sizes"),
    ),
)  # fmt: skip
