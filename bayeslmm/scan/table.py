"""Marker tests as tables: one row for each marker and trait."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.genotypes.blocks import Block
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.scan.tests import Tests, added

COLUMNS = "trait chrom snp pos a1 a0 af n n_miss beta se p_wald p_lrt p_score log10_bf delta".split()


def log10_bayes_factor(
    beta: Float[ndarray, " b"], se: Float[ndarray, " b"], prior_sd: Float[ndarray, " b"], df: int
) -> Float64[ndarray, " b"]:
    r"""Return the Bayes factor of an effect against none at a given variance ratio, as log10.

    The variance is integrated out: :math:`p(\sigma^2) \propto 1 / \sigma^2` in both models, and
    :math:`\beta \mid \sigma^2 \sim N(0, \phi^2 \sigma^2)`, a prior in units of the trait's standard deviation. With
    t = beta / se on :math:`\nu` degrees of freedom and :math:`k = \tau^2 / (se^2 + \tau^2)`, which does not depend on
    :math:`\sigma^2`,

    .. math:: \log BF = \tfrac12 \log(1 - k)
        + \tfrac{\nu + 1}{2} \log \frac{1 + t^2 / \nu}{1 + (1 - k) t^2 / \nu},

    which tends to Wakefield's :math:`\frac12 \log(1 - k) + \frac12 k t^2` as :math:`\nu` grows, and never exceeds the
    F test: :math:`\log BF \le \frac{\nu + 1}{2} \log(1 + t^2 / \nu)`.

    Args:
        beta: estimates.
        se: their standard errors.
        prior_sd: tau, the standard deviation of the prior at the variance behind se, in the units of beta.
        df: nu, degrees of freedom of se: n - c - 1.

    Source: Servin and Stephens (2007), doi:10.1371/journal.pgen.0030114, for the prior (their D2) and the integral;
        Wakefield (2009), doi:10.1002/gepi.20359, for the limit, with the factor the other way up.
    """
    shrinkage = prior_sd**2 / (se**2 + prior_sd**2)
    t2 = (beta / se) ** 2 / df
    fit = np.log1p(shrinkage * t2 / (1 + (1 - shrinkage) * t2))
    return (np.log1p(-shrinkage) + (df + 1) * fit) / (2 * np.log(10))


def marker_rows(
    variants: pd.DataFrame,
    block: Block,
    tests: Mapping[str, Tests],
    prior_effect: float,
    df: int,
    *,
    ols: Mapping[str, Tests] | None = None,
    interactions: Mapping[str, Mapping[str, Tests]] | None = None,
    covariate_effects: Mapping[str, Float[ndarray, "b c"]] | None = None,
    covariates: Sequence[str] = (),
) -> pd.DataFrame:
    """Return one row for each marker of a block and each trait, in the order of the markers.

    Args:
        variants: all markers.
        block: those tested.
        tests: by trait.
        prior_effect: standard deviation of the prior of an effect for the Bayes factor, in those of the trait.
        df: degrees of freedom of the standard errors, n - c - 1.
        ols: ordinary least squares of the same markers, for the columns beta_ols, se_ols and p_ols.
        interactions: by covariate and trait, sets of each marker and its product with the covariate; for columns
            ``beta_x_NAME``, ``se_x_NAME``, ``p_wald_x_NAME`` and ``p_lrt_x_NAME`` of the product beside the marker,
            and ``p_joint_x_NAME`` of both.
        covariate_effects: by trait, for one column ``alpha_NAME`` for each covariate.
        covariates: their names.
    """
    called = len(block.G) - block.n_miss
    marker = variants.iloc[block.lines].reset_index(drop=True).assign(af=block.af, n=called, n_miss=block.n_miss)
    of_traits = []
    for trait, test in tests.items():
        beta, se = test.beta[:, 0], test.se[:, 0]
        table = marker.assign(
            trait=trait,
            beta=beta,
            se=se,
            p_wald=test.p_wald[:, 0],
            p_lrt=test.p_lrt,
            p_score=test.p_score,
            log10_bf=log10_bayes_factor(beta, se, prior_effect * test.sd, df),
            delta=test.delta,
        )[COLUMNS]
        if ols:
            plain = ols[trait]
            table = table.assign(beta_ols=plain.beta[:, 0], se_ols=plain.se[:, 0], p_ols=plain.p_wald[:, 0])
        for name, sets in (interactions or {}).items():
            table = table.assign(**_interaction(name, sets[trait], test))
        if covariate_effects:
            columns = zip(covariates, covariate_effects[trait].T, strict=True)
            table = table.assign(**{f"alpha_{name}": column for name, column in columns})
        of_traits.append(table)
    return pd.concat(of_traits).sort_index(kind="stable", ignore_index=True)


def _interaction(name: str, both: Tests, marker: Tests) -> dict[str, ndarray]:
    columns = {
        "beta": both.beta[:, 1],
        "se": both.se[:, 1],
        "p_wald": both.p_wald[:, 1],
        "p_lrt": added(both, marker),
        "p_joint": both.p_lrt,
    }
    return {f"{column}_x_{name}": values for column, values in columns.items()}


def effect_row(marker: pd.Series, trait: str, posterior: ExactPosterior) -> dict[str, Any]:
    """Return the posterior of the effect of one marker, the last covariate of the model, as a row of a table."""
    lower, upper = posterior.beta_interval(-1)
    return {
        "trait": trait,
        **marker,
        "mean": posterior.beta[-1],
        "sd": posterior.se_beta[-1],
        "lower": lower,
        "upper": upper,
        "p_positive": posterior.beta_positive(-1),
        "h2": posterior.h2.mean,
    }
