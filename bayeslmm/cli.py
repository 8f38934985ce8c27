"""The command line. Imports what a command needs when it runs: ``--help`` must not wait for JAX."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bayeslmm.checks import InputError, InputWarning

DIAGNOSTICS_FAILED = 3
INPUT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 2 for an input error (one line on stderr), 3 for draws that failed their checks."""
    return _run(_parser().parse_args(arguments))


def run_program(file: str, command: Literal["h2", "rg"]) -> int:
    """Run a file that holds a program as a script: the posterior of its ``model`` alone.

    The programs of `bayeslmm.models` call it, and so may a copy of one: it then is ``--model FILE:model``.

    Args:
        file: the program's ``__file__``.
        command: which command samples it: "h2" one trait, "rg" several at once.
    """
    name, ours = Path(file).stem, Path(file).resolve().parent == (Path(__file__).parent / "models").resolve()
    script = f"python -m bayeslmm.models.{name}" if ours else f"python {sys.argv[0]}"
    parser = argparse.ArgumentParser(
        prog=script,
        description=f"The posterior of this program by NUTS, as bayeslmm {command} gives it beside other methods.",
        formatter_class=_Formatter,
    )
    one = command == "h2"
    parser.set_defaults(run=_run_h2 if one else _run_rg, program=script, methods=["nuts"], se="average", mom_se="exact")
    parser.set_defaults(model=None if ours else f"{sys.argv[0]}:model", prior_h2=[1.0, 1.0], prior_eta=[1.0, 1.0])
    _add_kinship_options(parser)
    tables = _add_table_options(parser)
    if one:
        _add_trait_option(tables, "--trait", "columns of --pheno to analyse")
    else:
        _add_joint_options(tables)
    group = parser.add_argument_group("inference")
    if ours:
        _add_h2_prior(group)
    if ours and not one:
        _add_correlation_prior(group)
    _add_nuts_options(group)
    _add_out_option(parser)
    options = parser.parse_args()
    if ours and not one and (len(options.trait) == 2) != (name == "bivariate"):
        parser.error("--traits: two traits are what bivariate is for, and more are for multivariate")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        try:
            return options.run(options)
        except InputError as error:
            print(f"bayeslmm: error: {' '.join(str(error).split())}", file=sys.stderr)
            return INPUT_ERROR


def _show_warning(message: Warning | str, category: type[Warning], *where: object) -> None:
    kind = "warning" if issubclass(category, InputWarning) else category.__name__
    print(f"bayeslmm: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


def _run_grm(options: argparse.Namespace) -> int:
    from bayeslmm.kinship import genomic_kinship
    from bayeslmm.kinship_files import write_grm

    kinship = genomic_kinship(options.bfile, scale=options.scale, maf=options.maf, geno=options.geno)
    paths = write_grm(kinship, options.out)
    print(kinship.markers_line())
    print(f"wrote {', '.join(map(str, paths))}: {len(kinship.ids):,} people, mean diagonal {kinship.mean_diagonal:.4f}")
    return 0


def _run_h2(options: argparse.Namespace) -> int:
    from bayeslmm.h2_command import run

    return DIAGNOSTICS_FAILED if run(options) else 0


def _run_compare(options: argparse.Namespace) -> int:
    from bayeslmm.compare_command import run

    return DIAGNOSTICS_FAILED if run(options) else 0


def _run_rg(options: argparse.Namespace) -> int:
    from bayeslmm.rg_command import run

    return DIAGNOSTICS_FAILED if run(options) else 0


def _run_scan(options: argparse.Namespace) -> int:
    from bayeslmm.scan_command import run

    run(options)
    return 0


def _run_simulate(options: argparse.Namespace) -> int:
    from bayeslmm.simulate_command import run

    run(options)
    return 0


def _run_calibrate(options: argparse.Namespace) -> int:
    from bayeslmm.calibrate_command import run

    run(options)
    return 0


def _run_demo(options: argparse.Namespace) -> int:
    data = _demo_data()
    command = ["h2", "--bfile", str(data / "mouse_hs1940"), "--pheno", str(data / "pheno.tsv"), "--trait", "CD8", "MCH"]
    command += ["--out", str(options.out)]
    print(f"bayeslmm {' '.join(command)}")
    return main(command)


def _demo_data() -> Path:
    """Return the folder of the mouse data: in the repository, from which it runs or from which it is installed."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (folder := root / "validation" / "data" / "mouse_hs1940").is_dir():
            return folder
    raise InputError(
        "the demo's mouse data (validation/data/mouse_hs1940) come with the source repository, not with the installed "
        "package: run the demo in a clone of it"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayeslmm", description="Bayesian linear mixed models for genetics: heritability with honest uncertainty."
    )
    parser.set_defaults(program="bayeslmm")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    grm = commands.add_parser("grm", help="kinship matrix from genotypes", formatter_class=_Formatter)
    grm.add_argument("--bfile", required=True, metavar="X", help="PLINK 1 genotypes X.bed, X.bim, X.fam")
    _add_marker_options(grm)
    grm.add_argument("--out", required=True, metavar="X", help="write X.grm.bin, X.grm.N.bin, X.grm.id (GCTA's format)")
    grm.set_defaults(run=_run_grm)

    h2 = commands.add_parser("h2", help="heritability of traits", formatter_class=_Formatter)
    _add_kinship_options(h2)
    _add_trait_option(_add_table_options(h2), "--trait", "columns of --pheno to analyse")
    _add_method_options(h2)
    _add_model_option(h2)
    _add_moments_option(_add_inference_options(h2))
    _add_out_option(h2)
    h2.set_defaults(run=_run_h2)

    compare = commands.add_parser("compare", help="every method on each trait", formatter_class=_Formatter)
    _add_kinship_options(compare)
    _add_trait_option(_add_table_options(compare), "--trait", "columns of --pheno to analyse")
    _add_moments_option(_add_inference_options(compare))
    _add_out_option(compare)
    compare.set_defaults(run=_run_compare)

    rg = commands.add_parser("rg", help="genetic correlations of traits", formatter_class=_Formatter)
    _add_kinship_options(rg)
    _add_joint_options(_add_table_options(rg))
    rg.add_argument(
        "--methods",
        nargs="+",
        default=["mom", "reml", "nuts"],
        choices=("mom", "reml", "nuts"),
        help="moments, restricted maximum likelihood, posterior by NUTS",
    )
    _add_model_option(rg)
    _add_correlation_prior(_add_inference_options(rg))
    _add_out_option(rg)
    rg.set_defaults(run=_run_rg)

    scan = commands.add_parser("scan", help="tests of markers", formatter_class=_Formatter)
    _add_kinship_options(scan, tested=True)
    _add_trait_option(_add_table_options(scan), "--trait", "columns of --pheno to scan")
    _add_scan_options(scan)
    _add_out_option(scan)
    scan.set_defaults(run=_run_scan)

    simulate = commands.add_parser("simulate", help="traits with known truth", formatter_class=_Formatter)
    _add_simulation_options(simulate)
    _add_out_option(simulate)
    simulate.set_defaults(run=_run_simulate)

    calibrate = commands.add_parser(
        "calibrate", help="what intervals of h2 are worth with your people, before a trait", formatter_class=_Formatter
    )
    _add_kinship_options(calibrate)
    _add_table_options(calibrate).add_argument(
        "--trait", required=True, nargs=1, metavar="NAME", help="who has it is analysed; its values are not used"
    )
    _add_study_options(calibrate)
    _add_out_option(calibrate)
    calibrate.set_defaults(run=_run_calibrate)

    demo = commands.add_parser("demo", help="heritability of two traits of mice", formatter_class=_Formatter)
    demo.add_argument("--out", type=Path, default=Path("demo-results"), metavar="DIR", help="folder for the results")
    demo.set_defaults(run=_run_demo)
    return parser


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not the empty ones."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, (), []) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


def _add_marker_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--scale",
        choices=("hwe", "sample", "vanraden"),
        default="hwe",
        help="how markers are standardised: by sqrt(2 f (1 - f)), by the sample sd, or VanRaden's method 1",
    )
    parser.add_argument("--maf", type=float, default=0.01, metavar="F", help="least minor allele frequency")
    parser.add_argument("--geno", type=float, default=0.05, metavar="F", help="largest missing rate of a marker")


def _add_kinship_options(parser: argparse.ArgumentParser, *, tested: bool = False) -> None:
    """Add where K comes from; if markers are tested, from them unless another kinship is given."""
    bfile = "PLINK 1 genotypes X.bed, X.bim, X.fam"
    if tested:
        parser.add_argument("--bfile", required=True, metavar="X", help=f"{bfile}: the markers to test")
        group = parser.add_argument_group("kinship (from --bfile, or one of the first three)")
        source = group.add_mutually_exclusive_group()
    else:
        group = parser.add_argument_group("kinship (one of the first four)")
        source = group.add_mutually_exclusive_group(required=True)
        source.add_argument("--bfile", metavar="X", help=bfile)
    source.add_argument("--grm", metavar="X", help="GCTA kinship X.grm.bin, X.grm.id")
    source.add_argument("--kinship", metavar="F", help="square text matrix with a line of ids (or see --fam)")
    source.add_argument("--pedigree", metavar="F", help="table with the columns id, sire, dam")
    group.add_argument("--fam", metavar="F", help="ids of a --kinship without them, such as GEMMA's .cXX.txt")
    _add_marker_options(group)
    group.add_argument("--centre", action="store_true", help="centre K on the people analysed (J K J, as GEMMA does)")
    group.add_argument("--normalise", action="store_true", help="divide K of the people analysed by its mean diagonal")
    group.add_argument("--eigen", type=Path, metavar="F", help="decomposition: read if F exists, else written (.npz)")


def _add_table_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
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


def _add_trait_option(group: argparse._ArgumentGroup, name: str, help: str) -> None:
    group.add_argument(name, dest="trait", required=True, nargs="+", metavar="NAME", help=help)


def _add_joint_options(group: argparse._ArgumentGroup) -> None:
    _add_trait_option(group, "--traits", "columns of --pheno to analyse together, two or more")
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


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
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


def _add_method_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["reml", "exact", "nuts"],
        choices=("reml", "ml", "em", "pxem", "mom", "rhe", "lasso", "exact", "nuts"),
        help="likelihood, moments (rhe: randomised), scaled lasso, posterior by quadrature (exact) and by NUTS",
    )


def _add_moments_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--mom-se", choices=("exact", "jackknife"), default="exact", help="standard errors of mom (see the README)"
    )


def _add_correlation_prior(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prior-eta",
        nargs=2,
        type=float,
        default=[1.0, 1.0],
        metavar=("U", "E"),
        help="LKJ priors of the genetic and of the residual correlations: 1 is uniform, more draws them to 0",
    )


def _add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="a NumPyro program of your own for --methods nuts, in place of ours: a function of the rotated data",
    )


def _add_inference_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("inference")
    group.add_argument(
        "--se", choices=("average", "expected", "observed"), default="average", help="information for standard errors"
    )
    _add_h2_prior(group)
    _add_nuts_options(group)
    return group


def _add_h2_prior(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prior-h2", nargs=2, type=float, default=[1.0, 1.0], metavar=("A", "B"), help="Beta(A, B) prior of h2"
    )


def _add_nuts_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--chains", type=int, default=4, metavar="N", help="NUTS chains")
    group.add_argument("--draws", type=int, default=1000, metavar="N", help="kept draws of each chain")
    group.add_argument("--warmup", type=int, default=1000, metavar="N", help="adaptation steps of each chain")
    group.add_argument(
        "--target-accept", type=float, default=0.9, metavar="P", help="acceptance rate; raise it if draws diverge"
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all random numbers")


def _add_simulation_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("genotypes (one of the first two)")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--bfile", metavar="X", help="PLINK 1 genotypes X.bed, X.bim, X.fam")
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
    _add_marker_options(group)
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


def _add_out_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulated traits")
    group.add_argument("--h2", nargs="+", type=float, default=[0.05, 0.2, 0.5, 0.8], metavar="H2", help="true values")
    group.add_argument("--datasets", type=int, default=200, metavar="N", help="simulated traits for each")
    _add_h2_prior(group)
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all random numbers")
    group.add_argument("--workers", type=int, default=2, metavar="N", help="processes on this machine")
    group.add_argument("--cluster", default="local", metavar="ADDRESS", help="or tcp://HOST:PORT of a Dask scheduler")
