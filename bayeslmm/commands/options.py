"""The options of the command line, in groups that commands share."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from bayeslmm.analyses import methods
from bayeslmm.base.checks import InputError
from bayeslmm.commands.genotypes import add_genotype_options
from bayeslmm.genotypes.filters import GENO, MAF, SCALE, SCALES

_RANGES: dict[str, tuple[float, float]] = {
    "pcs": (0, 10_000),
    "chains": (1, 1_000),
    "draws": (1, 1_000_000),
    "warmup": (1, 1_000_000),
    "seed": (0, 2**32 - 1),
    "prior_h2": (0.01, 1e6),
    "prior_eta": (0.01, 1e6),
    "posterior_top": (0, 1_000_000),
    "datasets": (2, 1_000_000),
    "workers": (1, 1_000),
    "coalescent": (1, 10_000_000),
    "siblings": (1, 1_000_000),
    "chromosomes": (1, 1_000),
    "causal": (1, 100_000_000),
    "covariates": (0, 1_000),
}
"""What a number may be: beyond it no computer, or no floating point number, will do."""


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not the empty ones."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, (), []) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


def check_values(options: argparse.Namespace) -> None:
    """Refuse numbers and names that no command can use, whatever it is.

    Raises:
        InputError: a number outside its range or not finite, an empty name, or a name that is not UTF-8.
    """
    for key, whole in vars(options).items():
        name = "--" + key.replace("_", "-")
        least, most = _RANGES.get(key, (-math.inf, math.inf))
        for value in _values(whole):
            if isinstance(value, bool):
                continue
            if isinstance(value, int | float):
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{name} must be a finite number, but {value} was given")
                if value < least:
                    raise InputError(f"{name} must be at least {least:,}, but {_short(value)} was given")
                if value > most:
                    raise InputError(f"{name} must be at most {most:,}, but {_short(value)} was given")
            elif isinstance(value, str | Path):
                text = str(value)
                if not text or "\0" in text:
                    raise InputError(f"{name} needs a name, but {text!r} was given")
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise InputError(f"{name} {text!r} is not UTF-8, as names must be: rename it") from None


def _values(whole: object) -> Iterator[object]:
    if isinstance(whole, list | tuple):
        for part in whole:
            yield from _values(part)
    else:
        yield whole


def _short(value: int | float) -> str:
    """Write a number, which may have thousands of digits."""
    return f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else f"about {_exponent(value)}"


def _exponent(value: int) -> str:
    return f"{'-' if value < 0 else ''}10^{int(abs(value).bit_length() * math.log10(2))}"


def add_marker_options(parser: argparse._ActionsContainer) -> None:
    """Add how markers are standardised, and which are used."""
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default=SCALE,
        help="how markers are standardised: by sqrt(2 f (1 - f)), by the sample sd, or VanRaden's method 1",
    )
    parser.add_argument("--maf", type=float, default=MAF, metavar="F", help="least minor allele frequency")
    parser.add_argument("--geno", type=float, default=GENO, metavar="F", help="largest missing rate of a marker")
    parser.add_argument(
        "--chr",
        nargs="+",
        default=(),
        metavar="NAME",
        help="chromosomes a kinship is made from, names or ranges such as 1-22 X; by default all but X, Y, XY, MT (23 "
        "to 26, unless there are numbers above 26) and unplaced markers",
    )


def add_kinship_options(parser: argparse.ArgumentParser, *, tested: bool = False) -> None:
    """Add where K comes from; if markers are tested, from them unless another kinship is given."""
    if tested:
        add_genotype_options(parser.add_mutually_exclusive_group(required=True), ": the markers to test")
        group = parser.add_argument_group("kinship (from these genotypes, or one of the first three)")
        source = group.add_mutually_exclusive_group()
    else:
        group = parser.add_argument_group("kinship (from genotypes, or --grm, --kinship or --pedigree)")
        source = group.add_mutually_exclusive_group(required=True)
        add_genotype_options(source)
    source.add_argument("--grm", metavar="X", help="GCTA kinship X.grm.bin, X.grm.id")
    source.add_argument("--kinship", metavar="F", help="square text matrix with a line of ids (or see --fam)")
    source.add_argument("--pedigree", metavar="F", help="table with the columns id, sire, dam")
    group.add_argument("--fam", metavar="F", help="ids of a --kinship without them, such as GEMMA's .cXX.txt")
    add_marker_options(group)
    group.add_argument("--centre", action="store_true", help="centre K on the people analysed (J K J, as GEMMA does)")
    group.add_argument("--normalise", action="store_true", help="divide K of the people analysed by its mean diagonal")
    group.add_argument("--bend", action="store_true", help="set negative eigenvalues of K to 0, however large they are")
    group.add_argument("--eigen", type=Path, metavar="F", help="decomposition: read if F exists, else written (.npz)")


def add_table_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add tables of traits and covariates; return the group, for the traits."""
    group = parser.add_argument_group("traits and covariates")
    group.add_argument("--pheno", required=True, metavar="F", help="table with a header, one column of it IID")
    group.add_argument("--covar", metavar="F", help="table of covariates, like --pheno")
    group.add_argument(
        "--covariates", nargs="+", metavar="NAME", help="columns to use: of --covar (all by default), else of --pheno"
    )
    group.add_argument(
        "--categorical", nargs="+", default=(), metavar="NAME", help="covariates whose numbers are codes"
    )
    group.add_argument(
        "--pcs", type=int, default=0, metavar="K", help="how many leading principal components of K to use"
    )
    group.add_argument("--no-intercept", action="store_true", help="do not add a column of ones")
    group.add_argument("--missing", nargs="+", default=(), metavar="CODE", help="further missing codes, such as -9")
    return group


def add_trait_option(group: argparse._ArgumentGroup, name: str, help: str) -> None:
    """Add which traits."""
    group.add_argument(name, dest="trait", required=True, nargs="+", metavar="NAME", help=help)


def add_joint_options(group: argparse._ArgumentGroup) -> None:
    """Add what is about several traits taken together."""
    add_trait_option(group, "--traits", "columns of --pheno to analyse together, two or more")
    group.add_argument(
        "--covariates-of",
        nargs="+",
        action="append",
        default=[],
        metavar=("TRAIT", "NAME"),
        help="a trait and the covariates to use for it in place of those for all; may be repeated",
    )
    group.add_argument(
        "--complete-only",
        action="store_true",
        help="drop people who lack any of the traits, in place of using all values that are there",
    )


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Add the tests of markers, and how they are written."""
    group = parser.add_argument_group("tests")
    group.add_argument(
        "--test",
        choices=("exact", "null"),
        default="exact",
        help="variance ratio: estimated anew with each marker, or that of the model without markers",
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
        "--epistasis", metavar="F", help="test the product of markers beside both: two names of markers on each line"
    )
    group.add_argument(
        "--covariate-effects", action="store_true", help="add the effects of covariates beside each marker: alpha_NAME"
    )
    group.add_argument(
        "--prior-effect",
        type=float,
        default=0.15,
        metavar="SD",
        help="prior of an effect for the Bayes factor, in standard deviations of the trait given its covariates",
    )
    group.add_argument(
        "--posterior", nargs="+", default=(), metavar="SNP", help="markers to compute the posterior of the effect of"
    )
    group.add_argument(
        "--posterior-top", type=int, default=0, metavar="K", help="the same for the K smallest p-values of each trait"
    )
    group.add_argument("--format", choices=("tsv", "parquet"), default="tsv", help="of the table of all markers")
    group.add_argument("--resume", action="store_true", help="go on with a scan that was interrupted")


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Add which methods estimate h2."""
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["reml", "exact", "nuts"],
        choices=methods.NAMES,
        help="likelihood, moments (rhe: randomised), scaled lasso, posterior by quadrature (exact) and by NUTS",
    )


def add_moments_option(group: argparse._ArgumentGroup) -> None:
    """Add standard errors of the method of moments."""
    group.add_argument(
        "--mom-se",
        choices=("exact", "jackknife"),
        default="exact",
        help="standard errors of mom: of normal data, or leaving out blocks of people",
    )


def add_correlation_prior(group: argparse._ArgumentGroup) -> None:
    """Add the LKJ priors of correlations."""
    group.add_argument(
        "--prior-eta",
        nargs=2,
        type=float,
        default=[1.0, 1.0],
        metavar=("U", "E"),
        help="LKJ priors of the genetic and of the residual correlations: 1 is uniform over correlation matrices (each "
        "correlation then has a prior sd of 0.58, 0.50, 0.45 with 2, 3, 4 traits), more draws them to 0",
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add a program of the user's own."""
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="a NumPyro program of your own for --methods nuts, in place of ours: a function of the rotated data",
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
        "--prior-h2", nargs=2, type=float, default=[1.0, 1.0], metavar=("A", "B"), help="Beta(A, B) prior of h2"
    )


def add_nuts_options(group: argparse._ArgumentGroup) -> None:
    """Add how NUTS samples."""
    group.add_argument("--chains", type=int, default=4, metavar="N", help="NUTS chains")
    group.add_argument("--draws", type=int, default=1000, metavar="N", help="kept draws of each chain")
    group.add_argument("--warmup", type=int, default=1000, metavar="N", help="adaptation steps of each chain")
    group.add_argument(
        "--target-accept", type=float, default=0.9, metavar="P", help="acceptance rate; raise it if draws diverge"
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all random numbers")


def add_simulation_options(parser: argparse.ArgumentParser) -> None:
    """Add what is simulated."""
    group = parser.add_argument_group("genotypes (from files, or by --coalescent)")
    source = group.add_mutually_exclusive_group(required=True)
    add_genotype_options(source)
    source.add_argument(
        "--coalescent",
        nargs=2,
        type=int,
        metavar=("N", "P"),
        help="simulate N people and P common markers by msprime: DIR/cohort.bed, .bim, .fam",
    )
    group.add_argument(
        "--siblings", type=int, default=1, metavar="S", help="families of S full siblings (--coalescent)"
    )
    group.add_argument("--chromosomes", type=int, default=22, metavar="C", help="how many (--coalescent)")
    add_marker_options(group)
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
        help="share of values lost: of all traits, or of each",
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all random numbers")


def add_out_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the results, and whether others in it may be lost."""
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_overwrite_option(parser, "remove the results of an earlier run from DIR, and replace files that are in the way")


def add_overwrite_option(parser: argparse.ArgumentParser, help: str) -> None:
    """Add whether files may be replaced."""
    parser.add_argument("--overwrite", action="store_true", help=help)


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add what a calibration simulates, and where it runs."""
    group = parser.add_argument_group("simulated traits")
    group.add_argument("--h2", nargs="+", type=float, default=[0.05, 0.2, 0.5, 0.8], metavar="H2", help="true values")
    group.add_argument("--datasets", type=int, default=200, metavar="N", help="simulated traits for each")
    add_h2_prior(group)
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all random numbers")
    group.add_argument("--workers", type=int, default=2, metavar="N", help="processes on this machine")
    group.add_argument("--cluster", default="local", metavar="ADDRESS", help="or tcp://HOST:PORT of a Dask scheduler")
