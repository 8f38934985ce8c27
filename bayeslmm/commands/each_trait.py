"""What `h2`, `compare` and `predict` share: one trait after the other, each written at once, then a report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd

from bayeslmm.analyses.heritability import OF_GENOTYPES
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.base.checks import InputError
from bayeslmm.base.files import fingerprints
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.cluster import ClusterSettings, on_cluster
from bayeslmm.commands.genotypes import OPTIONS
from bayeslmm.commands.inference import NutsSettings, PriorSettings
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.products_choice import ProductsChoice
from bayeslmm.commands.products_kept import FOLDER, keep_products
from bayeslmm.commands.random_effects import RandomEffects
from bayeslmm.commands.run import Run, open_run
from bayeslmm.commands.settings import AnalysisSettings, HeritableTraits
from bayeslmm.estimators.information import Kind
from bayeslmm.estimators.liability import Liability
from bayeslmm.likelihood.priors import ComponentsPrior, VariancePrior
from bayeslmm.posterior.diagnostics import Diagnostics
from bayeslmm.posterior.user_program import UserProgram
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.page import Part, Report


@dataclass(frozen=True)
class EachTraitSettings(AnalysisSettings):
    """What `h2` and `compare` have in common."""

    tables: HeritableTraits
    se: Kind
    mom_se: Literal["exact", "jackknife"]
    prior: PriorSettings
    nuts: NutsSettings

    def check_methods(self, methods: Sequence[str]) -> None:
        """Refuse methods that lack what they need.

        Raises:
            InputError: for methods that need genotypes, or options about methods that are not used.
        """
        kinship = self.kinship
        if not kinship.genotypes and (needing := [method for method in methods if method in OF_GENOTYPES]):
            raise InputError(f"--methods {needing[0]} needs genotypes ({OPTIONS})")
        if self.mom_se == "jackknife" and "mom" not in methods:
            raise InputError("--mom-se jackknife requires --methods mom")
        if "rhe" in methods and kinship.centre and self.tables.no_intercept:
            raise InputError(
                "randomised moments (rhe) do not form K, and cannot centre it without an intercept: leave out "
                "--centre or --no-intercept"
            )


@dataclass(frozen=True)
class Outcome:
    """What a command has found about one trait.

    Attributes:
        tables: rows of each table.
        lines: what is printed.
        part: what the report says.
        record: what ``run.json`` says about the trait.
        diagnostics: of the draws, if there are any.
        liability: of the trait, if a prevalence was given.
    """

    tables: Mapping[str, pd.DataFrame]
    lines: Sequence[str]
    part: Part
    record: Mapping[str, Any]
    diagnostics: Diagnostics | None = None
    liability: Liability | None = None


class HasTrait(Protocol):
    """One trait, ready for inference."""

    @property
    def trait(self) -> str:
        """Its name."""
        ...


def run_each_trait[One: HasTrait](
    settings: AnalysisSettings,
    each: Callable[[Run, Inputs[Any]], Iterable[One]],
    analyse: Callable[[Run, Inputs[Any], One], Outcome],
    report: Callable[[Sequence[Part]], Report],
    *,
    prior: VariancePrior | ComponentsPrior,
    notes: Mapping[str, str],
    names: Callable[[str], Sequence[str]],
    more: Mapping[str, Mapping[str, Any]],
    random: RandomEffects | None = None,
    program: UserProgram | None = None,
    choice: ProductsChoice | None = None,
    further: Sequence[Path] = (),
) -> Answer:
    """Analyse each trait, and write what is found.

    Args:
        settings: the options of the command.
        each: yields the traits that can be analysed.
        analyse: one of them.
        report: makes the report of its parts.
        prior: of the built-in programs.
        notes: the tables, each with its column for what is the matter with a row.
        names: trait -> the files that are named after it.
        more: further entries of some parts of ``run.json``.
        random: effects beside the kinship.
        program: the user's program.
        choice: whether K is multiplied with in place of a matrix; it is not without.
        further: files that are read beside tables and kinship.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in notes}
    parts: list[Part] = []
    files = [f"{name}.tsv" for name in notes]
    files += [name for trait in settings.tables.trait for name in names(trait)]
    files += [f"{FOLDER}/"] if choice else []
    read = [*further, *([program.path] if program else []), *(random.files if random else [])]
    resume = choice is not None and choice.settings.resume
    cluster = choice.settings.cluster if choice else ClusterSettings(None)
    folder = open_run(settings, [*files, "report.html"], more=read, resume=resume)
    with folder as run, cluster.opened() as passes:
        products = choice.chooser(run) if choice else None
        inputs = on_cluster(run.read_inputs(fingerprints(further), random=random, products=products), passes)
        failures = run.failures
        run.results.begin()
        with keep_products(run, inputs, resume=resume) as inputs:
            for one in each(run, inputs):
                with failures.caught([one.trait]):
                    outcome = analyse(run, inputs, one)
                    print("\n".join(["", *outcome.lines]))
                    diagnostics = outcome.diagnostics.record() if outcome.diagnostics else None
                    liability = outcome.liability.record() if outcome.liability else None
                    run.traits[one.trait] = {**outcome.record, "diagnostics": diagnostics, "liability": liability}
                    parts.append(outcome.part)
                    with run.clock.step("writing"):
                        for name, table in outcome.tables.items():
                            tables[name].append(table)
                            write_table(pd.concat(tables[name]), run.out / f"{name}.tsv")
            failures.check_any_left()
        found: dict[str, pd.DataFrame] = {}
        for name, whole in tables.items():
            failed = failures.rows(notes[name], parameter="h2")
            if whole or name == "estimates":
                found[name] = with_rows(whole, failed)
                write_table(found[name], run.out / f"{name}.tsv")
        run.finish(inputs, prior, report=report([*parts, *failed_parts(failures.why)]), more=more)
    return run.answer(found)
