"""The main job: one trait of one cohort through every method asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import pandas as pd
from xarray import DataTree

from bayeslmm.analyses.rows import Fit, rows_of
from bayeslmm.analyses.site_rows import site_rows
from bayeslmm.analyses.table import to_table
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators.em import em, px_em
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import Kind
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.moments import Moments, moments, moments_jackknife, randomised_moments
from bayeslmm.estimators.reml import reml
from bayeslmm.estimators.scaled_lasso import scaled_lasso
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import VariancePrior, describe
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import OneTrait, whitened
from bayeslmm.models import univariate
from bayeslmm.posterior import exact
from bayeslmm.posterior.checked_draws import checked_draws
from bayeslmm.posterior.diagnostics import Diagnostics, disagreements, overlap_with, prior_overlap
from bayeslmm.posterior.sampling import Program, takes_prior

Method = Literal["reml", "ml", "em", "pxem", "mom", "rhe", "lasso", "exact", "nuts"]
METHODS: tuple[Method, ...] = get_args(Method)
OF_GENOTYPES: tuple[Method, ...] = ("rhe", "lasso")
MomentsSe = Literal["exact", "jackknife"]


class Settings(TypedDict, total=False):
    """What `heritability` may be told about how to estimate; its docstring explains each."""

    se_kind: Kind
    moments_se: MomentsSe
    prior: VariancePrior | None
    chains: int
    draws: int
    warmup: int
    target_accept: float


@dataclass(frozen=True)
class Heritability:
    """What is known about one trait.

    Attributes:
        trait: its name.
        estimates: the table of `results`, rows of this trait.
        reml: always there, the other methods stand on it.
        fits: what each method asked for returned.
        diagnostics: of the draws, if NUTS was asked for.
        own: whether NUTS sampled a program that is not ours: then it is of another model than all other methods.
        prior_overlap: the area that posterior and prior of h2 share, by the oracle, or by draws of our program; None
            without either.
    """

    trait: str
    estimates: pd.DataFrame
    reml: Estimate
    fits: Mapping[Method, Fit]
    diagnostics: Diagnostics | None
    own: bool = False
    prior_overlap: float | None = None

    @property
    def exact(self) -> exact.ExactPosterior | None:
        """The oracle, if asked for."""
        fit = self.fits.get("exact")
        return fit if isinstance(fit, exact.ExactPosterior) else None

    @property
    def posterior(self) -> DataTree | None:
        """NUTS draws, if asked for."""
        fit = self.fits.get("nuts")
        return fit if isinstance(fit, DataTree) else None


def heritability(
    data: OneTrait,
    *,
    trait: str,
    covariates: Sequence[str],
    seed: int,
    methods: Sequence[Method] = ("reml", "exact", "nuts"),
    se_kind: Kind = "average",
    moments_se: MomentsSe = "exact",
    prior: VariancePrior | None = None,
    program: Program | Callable[..., None] = univariate,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 1000,
    target_accept: float = 0.9,
    attrs: Mapping[str, Any] | None = None,
    cohort: Cohort | None = None,
    markers: MarkerBlocks | None = None,
) -> Heritability:
    """Estimate the heritability of one trait by several methods.

    Args:
        data: one trait in the eigenbasis.
        trait: its name.
        covariates: names of the columns of X.
        seed: of the draws, and of the random vectors of "rhe".
        methods: which of `METHODS`.
        se_kind: which information gives the standard errors of the likelihood methods.
        moments_se: whether standard errors of "mom" are those of normal data or a jackknife (which needs the cohort).
        prior: of the oracle and of NUTS; by default that of each.
        program: what NUTS samples. One that is not ours gets the prior if it takes one, and has rows of all its small
            sites.
        chains: number of NUTS chains.
        draws: kept draws per chain.
        warmup: adaptation steps per chain.
        target_accept: mean acceptance rate of the steps; if transitions diverge, NUTS draws again at a higher one (see
            `checked_draws`).
        attrs: kept with the draws.
        cohort: the people before rotation, for "rhe", "lasso" and the jackknife.
        markers: the genotypes, for the first two. For "rhe" K must be their kinship, on any scale; centred only if X
            holds an intercept.

    Raises:
        InputError: if a method is unknown, or lacks what it needs, or none of them takes the prior that was given.
    """
    white = whitened(data)
    data = white.given
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"methods must be among {', '.join(METHODS)}, but {unknown[0]!r} was given")
    if cohort is not None and (trait not in cohort.traits or len(cohort.ids) != len(data.s)):
        raise InputError(
            f"the data must be those of the cohort: {trait} of {len(data.s)} people was given, with a cohort of "
            f"{len(cohort.ids)} people and the traits {', '.join(cohort.traits)}"
        )
    of_program = prior if takes_prior(program) else None
    if prior is not None and of_program is None and "nuts" in methods and "exact" not in methods:
        raise InputError("a prior was given, but the program that NUTS samples takes none, nor does any other method")
    prior = prior or VariancePrior()
    best = reml(white)
    checks: list[Diagnostics] = []

    def of_genotypes(method: Method) -> Fit:
        if cohort is None or markers is None:
            raise InputError(f"the method {method} works on genotypes, which were not given (--bfile)")
        y = cohort.Y[:, [cohort.traits.index(trait)]]
        if method == "lasso":
            return scaled_lasso(markers, cohort.ids, y, cohort.X)
        # It sees the genotypes, not whether K was divided by its mean diagonal.
        return randomised_moments(markers, cohort.ids, y, cohort.X, seed=seed).with_k_scale(data.k_scale)

    def by_moments() -> Moments:
        if moments_se == "exact":
            return moments(white)
        if cohort is None:
            raise InputError("the jackknife leaves out people, and needs the cohort before rotation")
        return moments_jackknife(cohort.K, cohort.Y[:, [cohort.traits.index(trait)]], cohort.X)

    def fit(method: Method) -> Fit:
        match method:
            case "reml":
                return best
            case "ml":
                return ml(white)
            case "em":
                return em(white)
            case "pxem":
                return px_em(white)
            case "mom":
                return by_moments()
            case "rhe" | "lasso":
                return of_genotypes(method)
            case "exact":
                return exact.posterior(white, prior)
            case "nuts":
                tree, checked = checked_draws(
                    program,
                    data,
                    seed=seed,
                    prior=of_program,
                    chains=chains,
                    draws=draws,
                    warmup=warmup,
                    target_accept=target_accept,
                    coords={"trait": [trait], "covariate": list(covariates)},
                    attrs=attrs,
                )
                checks.append(checked)
                return tree

    fits: dict[Method, Fit] = {method: fit(method) for method in methods}
    rows = [
        row
        for one in fits.values()
        for row in (
            site_rows(one, trait)
            if isinstance(one, DataTree) and program is not univariate
            else rows_of(one, white, trait=trait, covariates=covariates, se_kind=se_kind)
        )
    ]
    diagnostics = checks[-1] if checks else None
    drawn, oracle, own = fits.get("nuts"), fits.get("exact"), program is not univariate
    # Of the same model: the quadrature takes the prior of the fixed effects as flat.
    same = not own and describe(prior.beta) == describe(VariancePrior().beta)
    if diagnostics and same and isinstance(drawn, DataTree) and isinstance(oracle, exact.ExactPosterior):
        apart = disagreements("h2", drawn["posterior"]["h2"].to_numpy()[..., 0], oracle.h2)
        diagnostics = replace(diagnostics, checks=(*diagnostics.checks, *apart))
    overlap = _overlap(fits, prior, data, own=own)
    return Heritability(trait, to_table(rows), best, fits, diagnostics, own, overlap)


def _overlap(fits: Mapping[Method, Fit], prior: VariancePrior, data: RotatedData, *, own: bool) -> float | None:
    exactly, drawn = fits.get("exact"), fits.get("nuts")
    if isinstance(exactly, exact.ExactPosterior):
        return overlap_with(exactly.share, prior.h2)
    if isinstance(drawn, DataTree) and not own:
        h2 = drawn["posterior"]["h2"].to_numpy()
        # The prior is about a K with a mean diagonal of 1.
        return prior_overlap(quantities.pve(h2, 1 - h2, float(np.mean(data.s))), prior.h2, 0.0, 1.0)
    return None
