"""The main job: one trait of one cohort through every method asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from xarray import DataTree

from bayeslmm import exact
from bayeslmm.checks import InputError
from bayeslmm.diagnostics import Diagnostics, diagnose
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.reml import reml
from bayeslmm.information import Kind
from bayeslmm.models import univariate
from bayeslmm.priors import VariancePrior
from bayeslmm.results import estimate_rows, exact_rows, nuts_rows, to_table
from bayeslmm.sampling import sample
from bayeslmm.spectrum import RotatedData

Method = Literal["reml", "ml", "exact", "nuts"]
METHODS: tuple[Method, ...] = ("reml", "ml", "exact", "nuts")


@dataclass(frozen=True)
class Heritability:
    """What is known about one trait.

    Attributes:
        trait: its name.
        estimates: the table of `results`, rows of this trait.
        reml: always there, the other methods stand on it.
        exact: the oracle, if asked for.
        posterior: NUTS draws, if asked for.
        diagnostics: of the draws.
    """

    trait: str
    estimates: pd.DataFrame
    reml: Estimate
    exact: exact.ExactPosterior | None
    posterior: DataTree | None
    diagnostics: Diagnostics | None


def heritability(
    data: RotatedData,
    *,
    trait: str,
    covariates: Sequence[str],
    seed: int,
    methods: Sequence[Method] = ("reml", "exact", "nuts"),
    se_kind: Kind = "average",
    prior: VariancePrior | None = None,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 1000,
    attrs: Mapping[str, Any] | None = None,
) -> Heritability:
    """Estimate the heritability of one trait by several methods.

    Args:
        data: one trait in the eigenbasis.
        trait: its name.
        covariates: names of the columns of X.
        seed: of the draws.
        methods: which of "reml", "ml", "exact", "nuts".
        se_kind: which information gives the standard errors of REML and ML.
        prior: of the oracle and of NUTS.
        chains: number of NUTS chains.
        draws: kept draws per chain.
        warmup: adaptation steps per chain.
        attrs: kept with the draws.

    Raises:
        InputError: if a method is unknown.
    """
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"methods must be among {', '.join(METHODS)}, but {unknown[0]!r} was given")
    prior = prior or VariancePrior()
    names = {"trait": trait, "covariates": covariates}
    best, oracle, draws_tree, diagnostics = reml(data), None, None, None
    rows: list[dict[str, Any]] = []
    for method in methods:
        if method == "reml":
            rows += estimate_rows(best, data, se_kind=se_kind, **names)
        elif method == "ml":
            rows += estimate_rows(ml(data), data, se_kind=se_kind, **names)
        elif method == "exact":
            oracle = exact.posterior(data, prior)
            rows += exact_rows(oracle, **names)
        else:
            draws_tree = sample(
                univariate,
                data,
                seed=seed,
                prior=prior,
                chains=chains,
                draws=draws,
                warmup=warmup,
                coords={"trait": [trait], "covariate": list(covariates)},
                attrs=attrs,
            )
            diagnostics = diagnose(draws_tree)
            rows += nuts_rows(draws_tree, **names)
    return Heritability(trait, to_table(rows), best, oracle, draws_tree, diagnostics)
