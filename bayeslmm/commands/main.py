"""The command line. Imports what a command needs when it runs: ``--help`` must not wait for JAX."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from bayeslmm.analyses import joint_methods
from bayeslmm.base.checks import InputError, InputWarning, one_line
from bayeslmm.base.terminal import Terminated, careful_streams, termination
from bayeslmm.commands.failures import ANALYSIS_FAILED, INTERRUPTED, TERMINATED, told
from bayeslmm.commands.genotypes import add_genotype_options, genotype_files, given_genotypes
from bayeslmm.commands.options import (
    Formatter,
    add_correlation_prior,
    add_inference_options,
    add_joint_options,
    add_kinship_options,
    add_marker_options,
    add_method_options,
    add_model_option,
    add_moments_option,
    add_out_option,
    add_overwrite_option,
    add_scan_options,
    add_simulation_options,
    add_study_options,
    add_table_options,
    add_trait_option,
    check_values,
)

_DEMO_RESULTS = Path("demo-results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or another code after one line on stderr that says why.

    1 if an analysis failed or standard output could not be written, 2 for an input error, 3 for draws that failed their
    checks, 70 for a fault of the program, 130 for Ctrl-C, 143 for SIGTERM.
    """
    return _run(_parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    with careful_streams() as out, warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        code = _code(options)
        if out is not None:
            out.flush()
            # Who closes a pipe has read enough.
            if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
                print(f"bayeslmm: error: standard output cannot be written ({out.failure})", file=sys.stderr)
                code = code or ANALYSIS_FAILED
    return code


def _code(options: argparse.Namespace) -> int:
    """Run a command and say in one line how it ended, unless it ended well; return its exit code."""
    try:
        with termination():
            check_values(options)
            return options.run(options)
    except KeyboardInterrupt as stopped:
        what, code = ("terminated", TERMINATED) if isinstance(stopped, Terminated) else ("interrupted", INTERRUPTED)
        print(f"bayeslmm: {': '.join([what, *getattr(stopped, '__notes__', [])])}", file=sys.stderr)
        return code
    except Exception as error:
        code, text = told(error)
        print(f"bayeslmm: error: {one_line(text)}", file=sys.stderr)
        return code


def _show_warning(message: Warning | str, category: type[Warning], *where: object) -> None:
    kind = "warning" if issubclass(category, InputWarning) else category.__name__
    print(f"bayeslmm: {kind}: {one_line(str(message))}", file=sys.stderr)


def _run_grm(options: argparse.Namespace) -> int:
    from bayeslmm.commands.results_folder import new_files
    from bayeslmm.kinship.files import grm_paths, write_grm
    from bayeslmm.kinship.from_genotypes import genomic_kinship

    paths = grm_paths(options.out)
    lock = paths[0].with_name(f".{paths[0].name}.lock")
    with new_files(paths, inputs=genotype_files(options), lock=lock, overwrite=options.overwrite):
        kinship = genomic_kinship(given_genotypes(options), scale=options.scale, maf=options.maf, geno=options.geno)
        write_grm(kinship, options.out)
    print(kinship.origin_line())
    print(f"wrote {', '.join(map(str, paths))}: {len(kinship.ids):,} people, mean diagonal {kinship.mean_diagonal:.4f}")
    return 0


def _run_h2(options: argparse.Namespace) -> int:
    from bayeslmm.commands.h2 import run

    return run(options)


def _run_compare(options: argparse.Namespace) -> int:
    from bayeslmm.commands.compare import run

    return run(options)


def _run_rg(options: argparse.Namespace) -> int:
    from bayeslmm.commands.rg import run

    return run(options)


def _run_scan(options: argparse.Namespace) -> int:
    from bayeslmm.commands.scan import run

    return run(options)


def _run_simulate(options: argparse.Namespace) -> int:
    from bayeslmm.commands.simulate import run

    run(options)
    return 0


def _run_calibrate(options: argparse.Namespace) -> int:
    from bayeslmm.commands.calibrate import run

    return run(options)


def _run_demo(options: argparse.Namespace) -> int:
    data = _demo_data()
    command = ["h2", "--bfile", str(data / "mouse_hs1940"), "--pheno", str(data / "pheno.tsv"), "--trait", "CD8", "MCH"]
    # The default folder is the demo's own: it may be run twice.
    own = options.out == _DEMO_RESULTS
    command += ["--out", str(options.out), *(["--overwrite"] if options.overwrite or own else [])]
    print(f"bayeslmm {' '.join(command)}")
    return main(command)


def _demo_data() -> Path:
    """Return the folder of the mouse data: in the repository, from which it runs or from which it is installed."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
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

    grm = commands.add_parser("grm", help="kinship matrix from genotypes", formatter_class=Formatter)
    add_genotype_options(grm.add_mutually_exclusive_group(required=True))
    add_marker_options(grm)
    grm.add_argument("--out", required=True, metavar="X", help="write X.grm.bin, X.grm.N.bin, X.grm.id (GCTA's format)")
    add_overwrite_option(grm, "replace these files if they exist")
    grm.set_defaults(run=_run_grm, name="grm")

    h2 = commands.add_parser("h2", help="heritability of traits", formatter_class=Formatter)
    add_kinship_options(h2)
    add_trait_option(add_table_options(h2), "--trait", "columns of --pheno to analyse")
    add_method_options(h2)
    add_model_option(h2)
    add_moments_option(add_inference_options(h2))
    add_out_option(h2)
    h2.set_defaults(run=_run_h2, name="h2")

    compare = commands.add_parser("compare", help="every method on each trait", formatter_class=Formatter)
    add_kinship_options(compare)
    add_trait_option(add_table_options(compare), "--trait", "columns of --pheno to analyse")
    add_moments_option(add_inference_options(compare))
    add_out_option(compare)
    compare.set_defaults(run=_run_compare, name="compare")

    rg = commands.add_parser("rg", help="genetic correlations of traits", formatter_class=Formatter)
    add_kinship_options(rg)
    add_joint_options(add_table_options(rg))
    rg.add_argument(
        "--methods",
        nargs="+",
        default=["mom", "reml", "nuts"],
        choices=joint_methods.NAMES,
        help="moments, restricted maximum likelihood, posterior by NUTS",
    )
    add_model_option(rg)
    add_correlation_prior(add_inference_options(rg))
    add_out_option(rg)
    rg.set_defaults(run=_run_rg, name="rg")

    scan = commands.add_parser("scan", help="tests of markers", formatter_class=Formatter)
    add_kinship_options(scan, tested=True)
    add_trait_option(add_table_options(scan), "--trait", "columns of --pheno to scan")
    add_scan_options(scan)
    add_out_option(scan)
    scan.set_defaults(run=_run_scan, name="scan")

    simulate = commands.add_parser("simulate", help="traits with known truth", formatter_class=Formatter)
    add_simulation_options(simulate)
    add_out_option(simulate)
    simulate.set_defaults(run=_run_simulate, name="simulate")

    calibrate = commands.add_parser(
        "calibrate", help="what intervals of h2 are worth with your people, before a trait", formatter_class=Formatter
    )
    add_kinship_options(calibrate)
    add_table_options(calibrate).add_argument(
        "--trait",
        required=True,
        nargs=1,
        metavar="NAME",
        help="who has it is analysed; its values are not used, but must vary",
    )
    add_study_options(calibrate)
    add_out_option(calibrate)
    calibrate.set_defaults(run=_run_calibrate, name="calibrate")

    demo = commands.add_parser("demo", help="heritability of two traits of mice", formatter_class=Formatter)
    demo.add_argument("--out", type=Path, default=_DEMO_RESULTS, metavar="DIR", help="folder for the results")
    add_overwrite_option(demo, "remove the results of an earlier run from another folder than the default")
    demo.set_defaults(run=_run_demo, name="demo")
    return parser
