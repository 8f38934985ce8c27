"""The commands and their options. It imports nothing that commands compute with: ``--help`` must not wait for JAX."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bayeslmm.analyses import component_methods, joint_methods, methods
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import (
    COMPONENT_METHODS,
    JOINT_COMPONENT_METHODS,
    JOINT_METHODS,
    METHODS,
    MOST_SAMPLED,
    PRIOR_EFFECT,
)
from bayeslmm.commands.config import read_config
from bayeslmm.commands.failures import EXIT_STATUS
from bayeslmm.commands.genotypes import (
    add_cutoff_option,
    add_format_options,
    add_genotype_options,
    add_selection_options,
)
from bayeslmm.commands.inference_options import (
    add_components_prior,
    add_correlation_prior,
    add_draws_groups_option,
    add_h2_prior,
    add_inference_options,
    add_method_option,
    add_model_option,
    add_moments_option,
)
from bayeslmm.commands.options import (
    DEMO_RESULTS,
    Formatter,
    add_h2_components,
    add_kinship_options,
    add_many_options,
    add_marker_options,
    add_out_option,
    add_overwrite_option,
    add_plots_option,
    add_prevalence_option,
    add_products_options,
    add_random_options,
    add_run_options,
    add_table_options,
    add_trait_option,
    add_transform_options,
)
from bayeslmm.commands.suggestions import check_typed, command_at


class Parser(argparse.ArgumentParser):
    """A parser whose errors are of input, and whose options are typed in full."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False, formatter_class=Formatter)

    def error(self, message: str) -> NoReturn:
        """Refuse what was typed."""
        raise InputError(f"{message} ({self.prog} --help)")


def parse(typed: Sequence[str], options: argparse.Namespace | None = None) -> argparse.Namespace:
    """Return all options, typed or from a file; ``command`` is the module of `bayeslmm.commands` to run.

    Args:
        typed: the arguments.
        options: what they are added to.

    Raises:
        InputError: for commands, options and values that there are not.
    """
    whole, options = parser(), options or argparse.Namespace()
    commands = commands_of(whole)
    check_typed(whole, commands, typed)
    at = command_at(typed)
    before, command, after = typed[:at], "".join(typed[at : at + 1]), typed[at + 1 :]
    of_config = Parser(prog=f"bayeslmm {command}", add_help=False)
    of_config.add_argument("--config", type=Path)
    path = of_config.parse_known_args(after)[0].config
    if path is None:
        return whole.parse_args(typed, options)
    configured = read_config(path, command, commands, after)
    whole.parse_args([*before, command, *configured.arguments, *after], options)
    options.config = configured.record
    return options


def parser() -> Parser:
    """Return the parser of the command line."""
    whole = Parser(
        prog="bayeslmm",
        description="Bayesian linear mixed models for genetics: heritability with honest uncertainty.",
        epilog=f"exit status: {'; '.join(f'{code} {what}' for code, what in EXIT_STATUS.items())}",
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = whole.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, (help, add_options) in _COMMANDS.items():
        command = commands.add_parser(name, help=help, epilog=whole.epilog)
        add_options(command)
        if name != "completion":
            add_run_options(command)
    return whole


def commands_of(whole: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    return next(action.choices for action in whole._actions if isinstance(action, argparse._SubParsersAction))


class _Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"bayeslmm {version('bayeslmm')}")
        sys.exit()


def _grm(parser: argparse.ArgumentParser) -> None:
    add_genotype_options(parser.add_mutually_exclusive_group(required=True))
    add_format_options(parser)
    add_marker_options(parser)
    add_selection_options(parser)
    add_cutoff_option(parser)
    parser.add_argument(
        "--out", required=True, metavar="X", help="write X.grm.bin, X.grm.N.bin, X.grm.id (GCTA's format)"
    )
    add_overwrite_option(parser, "replace these files if they exist")


def _h2(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser, required=False)
    add_products_options(parser)
    group = add_table_options(parser)
    add_many_options(group, add_trait_option(group, "columns of --pheno to analyse"))
    add_transform_options(group)
    add_prevalence_option(group)
    add_h2_components(add_random_options(parser))
    add_method_option(
        parser,
        sorted({*methods.NAMES, *component_methods.NAMES}),
        None,
        "likelihood, moments (rhe: randomised), scaled lasso, posterior by quadrature (exact) and by NUTS; threshold: "
        f"of the liability of a trait of two values (default: {' '.join(METHODS)}); of several components "
        f"{', '.join(component_methods.NAMES)} (default: {' '.join(COMPONENT_METHODS)})",
    )
    add_model_option(parser)
    add_draws_groups_option(parser)
    group = add_inference_options(parser)
    add_components_prior(group)
    add_moments_option(group)
    add_plots_option(parser)
    add_out_option(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser)
    group = add_table_options(parser)
    add_trait_option(group, "columns of --pheno whose records are used")
    add_transform_options(group)
    group = parser.add_argument_group("predictions")
    group.add_argument(
        "--joint",
        action="store_true",
        help="predict the traits from one joint model at REML, each from the records of all; with --folds, records of "
        "one trait are left out at a time, and those that their individuals have of the others stay",
    )
    group.add_argument(
        "--snp-effects", action="store_true", help="write the effect of each marker per allele (TRAIT.snp_effects.tsv)"
    )
    group.add_argument(
        "--new-genotypes",
        metavar="X",
        help="predict the individuals of these genotypes too, which are not in the kinship; of any format, known by "
        "its name; markers are matched by name and alleles",
    )
    group.add_argument("--folds", type=int, metavar="K", help="cross-validate in K folds, dealt at random")
    add_h2_prior(group)
    group.add_argument("--seed", type=int, default=1, metavar="N", help="seed for all random numbers")
    add_plots_option(parser)
    add_out_option(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser)
    group = add_table_options(parser)
    add_trait_option(group, "columns of --pheno to analyse")
    add_transform_options(group)
    add_prevalence_option(group)
    add_moments_option(add_inference_options(parser))
    add_plots_option(parser)
    add_out_option(parser)


def _rg(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser)
    add_products_options(parser)
    group = add_table_options(parser)
    add_trait_option(group, "columns of --pheno to analyse together, two or more")
    add_transform_options(group)
    group.add_argument(
        "--covariates-of",
        nargs="+",
        action="append",
        default=[],
        metavar=("TRAIT", "NAME"),
        help="a trait and its own covariates, in place of those for all traits; may be repeated",
    )
    group.add_argument(
        "--complete-only",
        action="store_true",
        help="drop individuals without all of the traits, instead of using all values; so do products",
    )
    add_random_options(parser)
    parser.set_defaults(partition=None, h2_of=(), bayes_factors=False)  # of one trait
    add_method_option(
        parser,
        joint_methods.NAMES,
        None,
        "moments, restricted maximum likelihood, posterior by NUTS or by importance sampling (default: "
        f"{' '.join(JOINT_METHODS)}; importance in place of nuts if more than {MOST_SAMPLED} values of two traits are "
        f"missing; with several components {' '.join(JOINT_COMPONENT_METHODS)})",
    )
    add_model_option(parser)
    add_draws_groups_option(parser)
    group = add_inference_options(parser)
    add_correlation_prior(group)
    add_components_prior(group)
    add_plots_option(parser)
    add_out_option(parser)


def _scan(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser, tested=True)
    add_products_options(parser, resume="continue a scan that was interrupted")
    group = add_table_options(parser)
    add_trait_option(group, "columns of --pheno to scan")
    add_transform_options(group)
    group = parser.add_argument_group("tests")
    group.add_argument(
        "--test",
        choices=("exact", "null"),
        default="exact",
        help="variance ratio: re-estimated with each marker, or that of the model without markers",
    )
    group.add_argument("--loco", action="store_true", help="test each chromosome against the kinship of all others")
    group.add_argument("--ols", action="store_true", help="add least squares without kinship: beta_ols, se_ols, p_ols")
    group.add_argument(
        "--interaction",
        nargs="+",
        default=(),
        metavar="COVARIATE",
        help="add tests of the product of each marker with covariates, of one degree of freedom and jointly with the "
        "marker: beta_x_COVARIATE and so on",
    )
    group.add_argument(
        "--epistasis", metavar="F", help="test products of markers given both: two names of markers on each line"
    )
    group.add_argument(
        "--covariate-effects",
        action="store_true",
        help="add the effects of covariates in the model of each marker: alpha_NAME",
    )
    group.add_argument(
        "--prior-effect",
        type=float,
        default=PRIOR_EFFECT,
        metavar="SD",
        help="prior of an effect for the Bayes factor, in standard deviations of the trait given its covariates",
    )
    group.add_argument(
        "--posterior", nargs="+", default=(), metavar="SNP", help="markers whose effect gets a posterior"
    )
    group.add_argument(
        "--posterior-top", type=int, default=0, metavar="K", help="the same for the K smallest p-values of each trait"
    )
    group.add_argument("--format", choices=("tsv", "parquet"), default="tsv", help="format of the table of all markers")
    group.add_argument(
        "--columns",
        choices=("bayeslmm", "gwas-ssf", "ldsc"),
        default="bayeslmm",
        help="columns of the table of all markers: our own, or those of the GWAS Catalog or of LDSC (compressed)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of --kinship-as products: its probes, and the markers of the calibration",
    )
    add_plots_option(parser)
    add_out_option(parser)


def _simulate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("genotypes (from files, or by --coalescent)")
    source = group.add_mutually_exclusive_group(required=True)
    add_genotype_options(source)
    source.add_argument(
        "--coalescent",
        nargs=2,
        type=int,
        metavar=("N", "P"),
        help="simulate N individuals and P common markers by msprime: DIR/cohort.bed, .bim, .fam",
    )
    group.add_argument(
        "--siblings", type=int, default=1, metavar="S", help="families of S full siblings (--coalescent)"
    )
    group.add_argument("--chromosomes", type=int, default=22, metavar="C", help="how many (--coalescent)")
    add_format_options(group)
    add_marker_options(group)
    add_selection_options(group)
    group = parser.add_argument_group("traits T1, T2, ...")
    group.add_argument("--h2", required=True, nargs="+", type=float, metavar="H2", help="heritability of each trait")
    group.add_argument("--sigma2-p", type=float, default=1.0, metavar="V", help="sigma2_u + sigma2_e of each trait")
    group.add_argument("--rg", type=float, default=0.0, metavar="R", help="genetic correlation of each pair")
    group.add_argument("--re", type=float, default=0.0, metavar="R", help="residual correlation of each pair")
    group.add_argument("--causal", type=int, metavar="K", help="only K markers, drawn at random, have effects")
    group.add_argument(
        "--covariates",
        type=int,
        default=0,
        metavar="N",
        help="standard normal covariates C1, C2, ... with effects of variance 0.05 V: DIR/covar.tsv",
    )
    group.add_argument(
        "--missing",
        nargs="+",
        type=float,
        default=(),
        metavar="RATE",
        help="share of values removed: one for all traits, or one for each",
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="seed for all random numbers")
    add_out_option(parser)


def _calibrate(parser: argparse.ArgumentParser) -> None:
    add_kinship_options(parser)
    add_trait_option(
        add_table_options(parser),
        "individuals with this trait are analysed; its values are not used, but must vary",
        number=1,
    )
    parser.set_defaults(log=False, rank_normalise=False)  # its own traits are normal
    group = parser.add_argument_group("simulated traits")
    group.add_argument("--h2", nargs="+", type=float, default=[0.05, 0.2, 0.5, 0.8], metavar="H2", help="true values")
    group.add_argument("--datasets", type=int, default=200, metavar="N", help="simulated traits for each")
    add_h2_prior(group)
    group.add_argument("--seed", type=int, default=1, metavar="N", help="seed for all random numbers")
    group.add_argument("--workers", type=int, default=2, metavar="N", help="processes on this machine")
    group.add_argument(
        "--cluster", default="local", metavar="ADDRESS", help="or a Dask scheduler: tcp://HOST:PORT, or its file X.json"
    )
    add_plots_option(parser)
    add_out_option(parser)


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=DEMO_RESULTS, metavar="DIR", help="folder for the results")
    add_overwrite_option(parser, "remove the results of an earlier run from another folder than the default")


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "grm": ("kinship matrix from genotypes", _grm),
    "h2": ("heritability of traits", _h2),
    "compare": ("every method on each trait", _compare),
    "rg": ("genetic correlations of traits", _rg),
    "scan": ("tests of markers", _scan),
    "predict": ("breeding values of individuals, with or without a record", _predict),
    "simulate": ("traits with known truth", _simulate),
    "calibrate": ("how reliable intervals of h2 are with your sample, before looking at a trait", _calibrate),
    "demo": ("heritability of two traits of mice", _demo),
    "completion": ("a script by which a shell completes commands, options and files", _completion),
}
