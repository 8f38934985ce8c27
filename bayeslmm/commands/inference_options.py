"""Options of inference: methods, programs, standard errors, priors and draws."""

import argparse
from collections.abc import Sequence

from bayeslmm.base.defaults import (
    CHAINS,
    DRAWS,
    DRAWS_GROUPS,
    PRIOR_ETA,
    PRIOR_H2,
    PRIOR_TOTAL,
    TARGET_ACCEPT,
    WARMUP,
)


def add_method_option(
    parser: argparse.ArgumentParser, names: Sequence[str], default: Sequence[str] | None, help: str
) -> None:
    """Add which of some methods, in upper or lower case; the default, if it depends on others, is in the help."""
    chosen = None if default is None else [*default]
    parser.add_argument("--methods", nargs="+", type=str.lower, default=chosen, choices=names, help=help)


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add the user's program."""
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="your own NumPyro program for --methods nuts: a function of the rotated data",
    )


def add_draws_groups_option(parser: argparse.ArgumentParser) -> None:
    """Add what is kept with draws."""
    parser.add_argument(
        "--draws-groups",
        nargs="+",
        default=(),
        choices=DRAWS_GROUPS,
        help="groups of ArviZ to add to the draws: of the prior, new data, the density of each row of the rotated data",
    )


def add_inference_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add standard errors, priors and draws; return the group."""
    group = parser.add_argument_group("inference")
    group.add_argument(
        "--se", choices=("average", "expected", "observed"), default="average", help="information for standard errors"
    )
    add_h2_prior(group)
    add_nuts_options(group)
    return group


def add_h2_prior(group: argparse._ArgumentGroup) -> None:
    """Add the Beta prior of h2."""
    group.add_argument(
        "--prior-h2", nargs=2, type=float, default=[*PRIOR_H2], metavar=("A", "B"), help="Beta(A, B) prior of h2"
    )


def add_nuts_options(group: argparse._ArgumentGroup) -> None:
    """Add how NUTS samples."""
    group.add_argument("--chains", type=int, default=CHAINS, metavar="N", help="NUTS chains")
    group.add_argument("--draws", type=int, default=DRAWS, metavar="N", help="kept draws of each chain")
    group.add_argument("--warmup", type=int, default=WARMUP, metavar="N", help="adaptation steps of each chain")
    group.add_argument(
        "--target-accept",
        type=float,
        default=TARGET_ACCEPT,
        metavar="P",
        help="acceptance rate; raise it if there are divergent transitions",
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="seed for all random numbers")


def add_moments_option(group: argparse._ArgumentGroup) -> None:
    """Add standard errors of the method of moments."""
    group.add_argument(
        "--mom-se",
        choices=("exact", "jackknife"),
        default="exact",
        help="standard errors of mom: for normal data, or leaving out blocks of individuals",
    )


def add_components_prior(group: argparse._ArgumentGroup) -> None:
    """Add the prior of several components."""
    group.add_argument(
        "--prior-shares",
        nargs="+",
        default=(),
        metavar="[NAME=]A",
        help="Dirichlet prior of the shares of several components: one concentration for all (1 by default, uniform), "
        "or NAME=A for some (the residual is e)",
    )
    group.add_argument(
        "--prior-total",
        nargs=2,
        type=float,
        default=[*PRIOR_TOTAL],
        metavar=("M", "S"),
        help="log-normal prior of the sum of several components, in units of the variance given the covariates: median "
        "and standard deviation of the logarithm",
    )


def add_correlation_prior(group: argparse._ArgumentGroup) -> None:
    """Add the LKJ priors of correlations."""
    group.add_argument(
        "--prior-eta",
        nargs=2,
        type=float,
        default=[*PRIOR_ETA],
        metavar=("U", "E"),
        help="LKJ priors of the genetic and of the residual correlations: 1 is uniform over correlation matrices (each "
        "correlation then has a prior sd of 0.58, 0.50, 0.45 with 2, 3, 4 traits), larger values shrink them to 0",
    )
