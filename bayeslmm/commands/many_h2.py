"""Thousands of traits from files: ``bayeslmm h2 --all-traits`` and ``--trait-columns``, all at once."""

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.analyses.many_traits import Survivors, those_that_can
from bayeslmm.analyses.table import write_table
from bayeslmm.base.checks import InputError, InputWarning, quoted
from bayeslmm.base.files import replacing
from bayeslmm.base.ids import Individuals
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.columns import words_of_traits
from bayeslmm.cohort.measurements import Measurements, measure
from bayeslmm.cohort.others import rows_of
from bayeslmm.cohort.tables import read_table
from bayeslmm.cohort.transform import transformed
from bayeslmm.cohort.wide_tables import WideTable, read_wide_table
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.each_trait import Outcome
from bayeslmm.commands.failures import INPUT_ERROR, Failures
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.many import ManySettings
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import Analysed, Run, open_run
from bayeslmm.commands.settings import AnalysisSettings, TableSettings
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.many import many_lines, many_part, many_report
from bayeslmm.report.page import Part
from bayeslmm.report.pictures import picture_names
from bayeslmm.report.plots.many import NAMES

_ANY = "any trait"
_STEM = "traits"


@dataclass
class _Reader:
    """Reads the traits, and makes measurements of one trait that tells who has any: who has none is not analysed."""

    many: ManySettings
    wide: WideTable = field(init=False)

    def __call__(self, tables: TableSettings) -> Measurements:
        if tables.formula is not None and not tables.of_covariates:
            raise InputError("--formula of all traits needs its columns in --covar or --qcovar")
        apart = () if tables.of_covariates else tables.named
        wide = read_wide_table(
            tables.pheno, self.many.trait_columns or None, id=tables.id, missing=tables.missing, apart=apart
        )
        self.wide = wide
        absent = np.isnan(wide.Y).all(axis=1)
        # Of any values: a trait must vary, and not be a combination of covariates.
        marker = np.where(absent, np.nan, np.random.default_rng(0).standard_normal(len(absent)))
        table = replace(wide.rows, columns={_ANY: marker, **wide.rows.columns})
        with warnings.catch_warnings():
            # Codes may occur in traits only, which are not in this table.
            warnings.filterwarnings("ignore", "the missing code", InputWarning)
            return measure(
                table,
                [_ANY],
                covariate_table=self._table(tables, tables.covar, "COVAR"),
                quantitative_table=self._table(tables, tables.qcovar, "QCOVAR"),
                covariates=None if tables.formula or (tables.of_covariates and not tables.named) else tables.named,
                categorical=tables.categorical,
                intercept=not tables.no_intercept,
                formula=tables.formula,
            )

    def _table(self, tables: TableSettings, path: str | None, unnamed: Any) -> Any:
        return read_table(path, missing=tables.missing, id=tables.id, unnamed=unnamed) if path else None


def run_many(
    settings: AnalysisSettings,
    many: ManySettings,
    analyse: Callable[[Run, Inputs, Analysed, bool], Outcome],
    *,
    prior: VariancePrior,
    given: bool,
    seed: int,
    names: Callable[[str], list[str]],
) -> Answer:
    """Analyse all traits at once, and some of them one by one, with pictures.

    Args:
        settings: the options of the command.
        many: which traits, and of which there is more.
        analyse: one trait, by NUTS too if the last argument says so.
        prior: of the variances.
        given: whether options changed it.
        seed: of the draws of p-values.
        names: trait -> the files that are named after it.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    reader = _Reader(many)
    files = [
        "estimates.parquet",
        "estimates.tsv",
        "failed.tsv",
        "remarks.tsv",
        "detailed.tsv",
        *picture_names(_STEM, NAMES),
    ]
    files += [name for trait in many.detailed for name in names(trait)]
    with open_run(settings, [*files, "report.html"], traits=[_ANY]) as run:
        inputs = run.read_inputs(read=reader)
        wide = reader.wide
        many.check_known(wide.traits, where=str(wide.path))
        run.results.begin()
        ((cohort, spectrum),) = run.cohorts(inputs)
        found, Y = _analysed(run, inputs, wide, cohort, spectrum, prior=prior if given else None, seed=seed)
        remarks = _remarks(wide, Y, found)
        with run.clock.step("writing"):
            _write(found, remarks, run.out)
            part = many_part(found, remarks, cohort, spectrum, run.pictures, stem=_STEM)
        print("\n" + "\n".join(many_lines(found)))
        closer = Failures([*many.detailed, _ANY])
        parts = [part, *_detailed(run, inputs, many, analyse, closer, wide, cohort, spectrum, Y, found)]
        parts += failed_parts(closer.why)
        run.traits[_ANY] = cohort_record(cohort, spectrum) | {
            "traits": len(found.estimates) + len(found.refused),
            "failed": len(found.refused),
            "remarks": len(remarks),
        }
        more = {"options": {"methods": ["reml", "exact"]}}
        run.finish(inputs, prior, report=many_report(parts, len(found.estimates)), more=more)
    answer = run.answer({"estimates": found.estimates.reset_index()})
    if found.refused:
        text = f"{len(found.refused):,} of {len(wide.traits):,} traits FAILED: see failed.tsv"
        print(f"bayeslmm: {text}", file=sys.stderr)
        answer = replace(answer, code=answer.code or INPUT_ERROR, error="; ".join(filter(None, [text, answer.error])))
    if closer.why:
        answer = replace(answer, code=closer.code, error="; ".join(filter(None, [answer.error, closer.error])))
    return answer


def _analysed(
    run: Run,
    inputs: Inputs,
    wide: WideTable,
    cohort: Cohort,
    spectrum: Spectrum,
    *,
    prior: VariancePrior | None,
    seed: int,
) -> tuple[Survivors, Float64[ndarray, "n t"]]:
    """Return what was found of all traits, and their values among those analysed."""
    kinship = inputs.kinship
    row = rows_of(inputs.measurements, Individuals(kinship.families, kinship.ids))
    Y = wide.Y[row[kinship.rows(cohort.ids)]]
    refused = dict(wide.refused)
    if transform := run.settings.tables.transform:
        for j, name in enumerate(wide.traits):
            if transform == "log" and (Y[:, j] <= 0).any():
                refused[name] = "it must be positive for its logarithm"
            else:
                Y[:, j] = transformed(Y[:, j], transform)
    good = np.array([name not in refused for name in wide.traits])
    if not good.any():
        raise InputError(f"none of the {len(good)} traits can be analysed: {next(iter(refused.values()))}")
    called = tuple(name for name, here in zip(wide.traits, good, strict=True) if here)
    with run.clock.step("inference"):
        values = Y if good.all() else Y[:, good]
        found = those_that_can(spectrum, values, cohort.X[0], names=called, prior=prior, seed=seed)
    return Survivors(found.estimates, refused | found.refused), Y


def _remarks(wide: WideTable, Y: Float64[ndarray, "n t"], found: Survivors) -> dict[str, str]:
    """Return what should be asked about traits, by name: what is warned of where a trait is alone."""
    words = {wide.traits[j]: "; ".join(of) for j, of in words_of_traits(Y).items()}
    remarks = {name: text for name, text in words.items() if name not in found.refused}
    if remarks:
        name, text = next(iter(remarks.items()))
        warnings.warn(
            f"{wide.path}: {len(remarks):,} of {len(wide.traits):,} traits should be looked at, all in remarks.tsv; "
            f"the first, {quoted(name)}, {text}",
            InputWarning,
            stacklevel=2,
        )
    return remarks


def _write(found: Survivors, remarks: Mapping[str, str], out: Path) -> None:
    table = found.estimates.reset_index()
    with replacing(out / "estimates.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    write_table(table, out / "estimates.tsv")
    for name, column, words in (("failed", "why", found.refused), ("remarks", "remark", remarks)):
        if words:
            write_table(pd.DataFrame({"trait": words.keys(), column: words.values()}), out / f"{name}.tsv")


def _detailed(
    run: Run,
    inputs: Inputs,
    many: ManySettings,
    analyse: Callable[[Run, Inputs, Analysed, bool], Outcome],
    failures: Failures,
    wide: WideTable,
    cohort: Cohort,
    spectrum: Spectrum,
    Y: Float64[ndarray, "n t"],
    found: Survivors,
) -> list[Part]:
    """Analyse some traits one by one."""
    parts: list[Part] = []
    tables: list[pd.DataFrame] = []
    for trait in many.detailed:
        if trait in found.refused:
            continue
        with failures.caught([trait]):
            y = Y[:, wide.traits.index(trait)]
            one = _one(trait, y, cohort, spectrum, bend=run.settings.kinship.bend)
            outcome = analyse(run, inputs, one, trait in many.nuts_for)
            print("\n".join(["", *outcome.lines]))
            diagnostics = outcome.diagnostics.record() if outcome.diagnostics else None
            run.traits[trait] = {**outcome.record, "diagnostics": diagnostics}
            parts.append(outcome.part)
            tables.append(outcome.tables["estimates"])
            write_table(pd.concat(tables), run.out / "detailed.tsv")
    return parts


def _one(trait: str, y: Float64[ndarray, " n"], cohort: Cohort, spectrum: Spectrum, *, bend: bool) -> Analysed:
    """Return one trait with those who have it, in their own eigenbasis."""
    there = ~np.isnan(y)
    K = cohort.K if there.all() else cohort.K[np.ix_(there, there)]
    ids = tuple(name for name, here in zip(cohort.ids, there, strict=True) if here)
    of_trait = replace(cohort, ids=ids, traits=(trait,), K=K, Y=y[there, None], X=(cohort.X[0][there],))
    own = spectrum if there.all() else decompose(K, where=cohort.source, bend=bend)
    return Analysed(trait, own.rotate(of_trait.Y, of_trait.X[0]), of_trait, own)
