"""What of the options cannot work, found before anything is computed."""

import argparse
from pathlib import Path

from bayeslmm.analyses.heritability import METHODS
from bayeslmm.base.checks import InputError
from bayeslmm.commands.genotypes import OPTIONS, genotype_file
from bayeslmm.genotypes.filters import GENO, MAF, SCALE
from bayeslmm.likelihood.priors import VariancePrior, beta_prior


def check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot work, whatever the command, before anything is computed."""
    if options.fam and not options.kinship:
        raise InputError(f"--fam {options.fam} gives the ids of --kinship, which was not given")
    of_kinship = ("scale", "chr") if genotype_file(options) else ("scale", "maf", "geno", "chr")
    for name in of_kinship if options.grm or options.kinship or options.pedigree else ():
        if getattr(options, name) != {"scale": SCALE, "maf": MAF, "geno": GENO, "chr": ()}[name]:
            raise InputError(
                f"--{name} is about genotypes and needs {OPTIONS}: a kinship that is given is used as it is"
            )
    if options.covar is None and not named_covariates(options) and options.categorical:
        raise InputError(f"--categorical {options.categorical[0]} needs --covariates or --covar")
    if options.no_intercept and not options.pcs and options.covar is None and not named_covariates(options):
        raise InputError(
            "--no-intercept leaves no fixed effect: leave it out, or give covariates that include the mean"
        )
    if not 0 < getattr(options, "target_accept", 0.5) < 1:
        raise InputError(f"--target-accept must be between 0 and 1, but {options.target_accept:g} was given")
    if getattr(options, "model", None):
        _check_model(options)
    if options.eigen and not options.eigen.parent.is_dir() and options.eigen.parent != options.out:
        raise InputError(f"--eigen {options.eigen}: the folder {options.eigen.parent} does not exist")


def _check_model(options: argparse.Namespace) -> None:
    """Refuse ``--model`` where nobody would look at it."""
    if "nuts" not in options.methods:
        raise InputError(f"--model {options.model} is what --methods nuts samples, which was not given")


def one_trait_prior(options: argparse.Namespace) -> VariancePrior:
    """Return the prior of methods for one trait; refuse options about them that cannot work."""
    check_trait_names(options)
    _check_methods(options)
    return VariancePrior(h2=beta_prior(*options.prior_h2))


def check_trait_names(options: argparse.Namespace) -> None:
    """Refuse traits that no file can be named after."""
    for trait in options.trait:
        if Path(trait).name != trait or trait == "..":
            raise InputError(f"{options.pheno}: results are named after traits, so {trait!r} cannot be one: rename it")


def _check_methods(options: argparse.Namespace) -> None:
    # `compare` has no --methods: it does all that the input allows.
    of_genotypes = [name for name, method in METHODS.items() if method.needs == "genotypes"]
    methods = getattr(options, "methods", ("mom", *(of_genotypes if genotype_file(options) else ())))
    if not genotype_file(options) and (needing := [method for method in methods if method in of_genotypes]):
        raise InputError(f"--methods {needing[0]} works on genotypes and needs {OPTIONS}")
    if options.mom_se == "jackknife" and "mom" not in methods:
        raise InputError("--mom-se jackknife is about --methods mom, which was not given")
    if "rhe" in methods and options.centre and options.no_intercept:
        raise InputError(
            "randomised moments (rhe) do not form K, and without an intercept they cannot know it centred: leave out "
            "--centre or --no-intercept"
        )


def named_covariates(options: argparse.Namespace) -> list[str]:
    """Return the covariates that options name, for all traits or for some."""
    of_some = [name for _, *names in getattr(options, "covariates_of", ()) for name in names]
    return list(dict.fromkeys([*(options.covariates or []), *of_some]))
