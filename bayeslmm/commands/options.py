"""The options of the command line, in groups that commands share."""

import argparse
from pathlib import Path

from bayeslmm.base.defaults import (
    GENO,
    MAF,
    PROBE_ERROR,
    SCALE,
    SCALES,
)
from bayeslmm.commands.genotypes import (
    add_cutoff_option,
    add_format_options,
    add_genotype_options,
    add_selection_options,
)

DEMO_RESULTS = Path("demo-results")


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not the empty ones."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Write the value after the last of several names, and not after each."""
        names = ", ".join(action.option_strings)
        return (
            super()._format_action_invocation(action)
            if action.nargs == 0 or not names
            else (f"{names} {self._format_args(action, self._get_default_metavar_for_optional(action))}")
        )

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, (), []) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


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


def add_kinship_options(parser: argparse.ArgumentParser, *, tested: bool = False, required: bool = True) -> None:
    """Add where K comes from; if markers are tested, from them unless another kinship is given."""
    if tested:
        add_genotype_options(parser.add_mutually_exclusive_group(required=True), ": the markers to test")
        group = parser.add_argument_group("kinship (from these genotypes, or from one of the files)")
        source = group.add_mutually_exclusive_group()
    else:
        group = parser.add_argument_group("kinship (from genotypes, or --grm, --kinship or --pedigree)")
        source = group.add_mutually_exclusive_group(required=required)
        add_genotype_options(source)
    source.add_argument("--grm", metavar="X", help="GCTA kinship X.grm.bin, X.grm.gz or X.grm.sp, with X.grm.id")
    source.add_argument(
        "--kinship", metavar="F", help="matrix of plink, GEMMA, KING, R or NumPy, in text or binary (ids: see --fam)"
    )
    source.add_argument("--pedigree", metavar="F", help="table with the columns id, sire, dam")
    source.add_argument(
        "--gemma-eigen", nargs=2, metavar=("D", "U"), help="eigenvalues and eigenvectors of GEMMA, with --fam"
    )
    group.add_argument(
        "--fam",
        metavar="F",
        help="ids of a --kinship without them, such as GEMMA's .cXX.txt: a .fam, or one or two columns (by default the "
        "file beside it, X.rel.id of X.rel)",
    )
    add_format_options(group)
    add_marker_options(group)
    add_selection_options(group)
    add_cutoff_option(group)
    group.add_argument("--centre", action="store_true", help="centre K on the individuals analysed (J K J, as GEMMA)")
    group.add_argument(
        "--normalise", action="store_true", help="divide K of the individuals analysed by its mean diagonal"
    )
    group.add_argument("--bend", action="store_true", help="set all negative eigenvalues of K to 0")
    group.add_argument("--eigen", type=Path, metavar="F", help="decomposition: read if F exists, else written (.npz)")


def add_products_options(
    parser: argparse.ArgumentParser, *, resume: str = "go on with the products of a run that was stopped"
) -> None:
    """Add how a kinship is taken that is too large for a matrix.

    Args:
        parser: of the command.
        resume: what it is to go on with a run.
    """
    group = parser.add_argument_group("large cohorts")
    group.add_argument(
        "--kinship-as",
        choices=("matrix", "products"),
        help="hold K of the individuals and decompose it, or only multiply with it, for more people than memory has "
        "room for (genotypes, --grm, --pedigree); by default products where the matrix would not fit",
    )
    group.add_argument(
        "--probe-error",
        type=float,
        default=PROBE_ERROR,
        metavar="E",
        help="Monte Carlo error of products that is asked for, in posterior standard deviations of h2",
    )
    group.add_argument("--resume", action="store_true", help=resume)
    group.add_argument(
        "--cluster",
        metavar="WHERE",
        help="multiply with K of genotypes on Dask workers: local (as many processes of this machine as --threads), "
        "the address tcp://HOST:PORT of a scheduler, or its file X.json",
    )


def add_table_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add tables of traits and covariates; return the group, for the traits."""
    group = parser.add_argument_group("traits and covariates")
    group.add_argument(
        "--pheno",
        required=True,
        metavar="F",
        help="table with a header, one column of it IID: text, .xlsx or .parquet; or a .fam, .psam, or GCTA's file "
        "without a header",
    )
    group.add_argument(
        "--id",
        nargs="+",
        default=(),
        metavar="NAME",
        help="column of ids in place of IID, in all tables that have it; several are joined: FID IID makes FID_IID",
    )
    group.add_argument("--covar", metavar="F", help="table of covariates, like --pheno; without a header all are codes")
    group.add_argument("--qcovar", metavar="F", help="table of covariates that are numbers, beside or without --covar")
    group.add_argument(
        "--covariates",
        nargs="+",
        metavar="NAME",
        help="columns to use: of --covar and --qcovar (all by default), else of --pheno",
    )
    group.add_argument(
        "--formula",
        metavar="FORMULA",
        help="in place of --covariates: '~ sex * age + bs(weight, df=4)', of columns of all tables; its "
        "expressions are Python and are run",
    )
    group.add_argument(
        "--categorical", nargs="+", default=(), metavar="NAME", help="covariates whose numbers are codes"
    )
    group.add_argument(
        "--pcs", type=int, default=0, metavar="K", help="how many leading principal components of K to use"
    )
    group.add_argument("--no-intercept", action="store_true", help="do not add a column of ones")
    group.add_argument(
        "--missing", nargs="+", default=(), metavar="CODE", help="further codes of missing values, such as -9"
    )
    return group


def add_trait_option(
    group: argparse._ArgumentGroup, help: str, *, number: int | str = "+"
) -> argparse._MutuallyExclusiveGroup:
    """Add which traits, and how many; return the group of ways to say so."""
    which = group.add_mutually_exclusive_group()
    which.add_argument("--trait", "--traits", nargs=number, metavar="NAME", help=f"{help}; by default the only one")
    which.add_argument(
        "--mpheno", type=int, nargs=number, metavar="N", help="their numbers in place of names, the first column is 1"
    )
    return which


def add_many_options(group: argparse._ArgumentGroup, which: argparse._MutuallyExclusiveGroup) -> None:
    """Add thousands of traits, analysed all at once."""
    which.add_argument(
        "--all-traits",
        action="store_true",
        help="analyse all columns of --pheno at once, by REML, exact posterior and test; a BED-style table of "
        "expression has a line for each trait",
    )
    which.add_argument(
        "--trait-columns",
        nargs="+",
        default=(),
        metavar="PATTERN",
        help="the same with the columns that patterns match, such as 'ENSG*'",
    )
    group.add_argument(
        "--pictures", nargs="+", default=(), metavar="TRAIT", help="of all these, traits that get pictures of their own"
    )
    group.add_argument("--nuts-for", nargs="+", default=(), metavar="TRAIT", help="the same, and NUTS")


def add_transform_options(group: argparse._ArgumentGroup) -> None:
    """Add what is done with the values of the traits."""
    how = group.add_mutually_exclusive_group()
    how.add_argument("--log", action="store_true", help="analyse natural logarithms of the traits")
    how.add_argument(
        "--rank-normalise",
        action="store_true",
        help="analyse normal scores of the ranks of each trait among the individuals analysed",
    )


def add_prevalence_option(group: argparse._ArgumentGroup) -> None:
    """Add what takes traits of two values to the scale of their liability."""
    group.add_argument(
        "--prevalence",
        type=float,
        metavar="K",
        help="share of cases in the population, for traits of two values, the larger one that of cases: add h2 of the "
        "liability",
    )


def add_random_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add random effects beside the kinship; return the group."""
    group = parser.add_argument_group("random effects (components of variance beside that of the kinship, u)")
    group.add_argument(
        "--random",
        nargs="+",
        default=(),
        metavar="NAME",
        help="columns of the tables whose values are groups, such as mother, litter or year",
    )
    group.add_argument(
        "--repeated",
        action="store_true",
        help="rows of the same IID are records of one individual: adds its permanent environment, pe",
    )
    group.add_argument(
        "--random-kinship",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a further kinship: a file of one, or FILE@mother or FILE@father of a pedigree (effects of a parent's "
        "genes), FILE@dominance or FILE@chr1,3,5 of genotypes; may be repeated",
    )
    return group


def add_h2_components(group: argparse._ArgumentGroup) -> None:
    """Add what only the components of one trait have."""
    group.add_argument(
        "--partition",
        metavar="SETS",
        help="a kinship of each set of markers in place of one of all: 'chromosome', or a file with a marker and its "
        "set on each line",
    )
    group.add_argument(
        "--h2-of",
        nargs="+",
        default=(),
        metavar="NAME",
        help="components whose shares together are h2; by default the kinship, sets of markers and chromosomes",
    )
    group.add_argument(
        "--bayes-factors", action="store_true", help="of each component: importance sampling once more without it"
    )


def add_out_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the results, and whether others in it may be lost."""
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_overwrite_option(parser, "remove the results of an earlier run from DIR, and replace files that are in the way")


def add_overwrite_option(parser: argparse.ArgumentParser, help: str) -> None:
    """Add whether files may be replaced."""
    parser.add_argument("--overwrite", action="store_true", help=help)


def add_plots_option(parser: argparse.ArgumentParser) -> None:
    """Add whether pictures are drawn."""
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures: tables, draws and report only")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what is said while a command runs, its threads, and a file of options: what all commands have."""
    group = parser.add_argument_group("this run")
    group.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    group.add_argument("--json", action="store_true", help="print the answer, or the error, as one JSON document")
    group.add_argument("--log-file", type=Path, metavar="F", help="add all that is said, with times, to F")
    group.add_argument("--threads", type=int, metavar="N", help="threads to use; by default as many as processors")
    group.add_argument(
        "--config", type=Path, metavar="F", help="a TOML file of options: keys for all commands, and a table for each"
    )
