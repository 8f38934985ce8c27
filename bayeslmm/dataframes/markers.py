"""A scan of markers for traits of a DataFrame: a formula and genotypes in, a table of tests out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from bayeslmm.analyses.principal_components import with_principal_components
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import GENO, MAF, PRIOR_EFFECT
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.align import align
from bayeslmm.cohort.cohort import Cohort, Drop
from bayeslmm.cohort.transform import Transform
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_html, as_text, dropped_of
from bayeslmm.dataframes.tables import measurements_of
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.rotation import decompose
from bayeslmm.report.plots.scan import HOW, PValues, draw_scan
from bayeslmm.report.scan import scan_answers
from bayeslmm.report.scan_numbers import numbers_of
from bayeslmm.scan.against import genotyped, spectrum_against, tasks_of
from bayeslmm.scan.blocks import Markers, ScanSettings, block_tables, least_allele_counts

_SHOWN = ["snp", "chrom", "pos", "a1", "af", "beta", "se", "p_wald", "log10_bf"]
_TOP = 10


@dataclass(frozen=True, repr=False)
class Scan:
    """Tests of markers for one or more traits, made by `fit_scan`.

    Attributes:
        table: one row for each marker and trait; the columns of ``TRAIT.scan.tsv`` after the trait.
        numbers: of each trait: how many markers were tested, lambda_gc and so on, as ``run.json`` has them.
        p_values: of each trait, along the genome.
        cohorts: the individuals of each trait.
        how: what was tested, in words.
        origin: which markers or animals K was computed from, or what its file was read as; empty if neither.
    """

    table: pd.DataFrame
    numbers: Mapping[str, Mapping[str, Any]]
    p_values: Mapping[str, PValues]
    cohorts: Mapping[str, Cohort]
    how: str
    origin: str

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits."""
        return tuple(self.cohorts)

    def __repr__(self) -> str:
        return "\n\n".join(as_text(self._answers(trait), cohort, self.origin) for trait, cohort in self.cohorts.items())

    def _repr_html_(self) -> str:
        return "".join(
            as_html(self._answers(trait), self.top(trait=trait)[_SHOWN], cohort, self.origin)
            for trait, cohort in self.cohorts.items()
        )

    @property
    def dropped(self) -> pd.DataFrame:
        """Who was not analysed, and why: trait, reason, count, examples."""
        tables = {trait: dropped_of(cohort) for trait, cohort in self.cohorts.items()}
        return pd.concat(tables, names=["trait", None]).reset_index("trait")

    def top(self, k: int = _TOP, *, trait: str | None = None) -> pd.DataFrame:
        """Return the k markers with the smallest p-values.

        Args:
            k: how many.
            trait: of this one; by default of the only one.
        """
        name = self._one(trait)
        return self.table[self.table["trait"] == name].nsmallest(k, "p_wald").reset_index(drop=True)

    def summary(self) -> pd.DataFrame:
        """Return one row for each trait: individuals, tests, lambda_gc, tests below 0.05 over their number, best."""
        first = {trait: self.top(1, trait=trait).add_prefix("top_").iloc[0] for trait in self.p_values}
        names = ["n", "tested", "lambda_gc", "below_bonferroni"]
        rows = {
            trait: {name: of[name] for name in names if name in of}
            | (first[trait][["top_snp", "top_beta", "top_se", "top_p_wald"]].to_dict() if trait in first else {})
            for trait, of in self.numbers.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trait")

    def plot(self, trait: str | None = None) -> Figure:
        """Draw a Manhattan and a QQ plot of one trait; return their figure.

        Args:
            trait: which; by default the only one.
        """
        import matplotlib.pyplot as plt

        name = self._one(trait)
        if name not in self.p_values:
            raise InputError(f"no marker could be tested for {name}")
        figure = plt.figure(figsize=(15, 4.6), layout="constrained")
        draw_scan(figure, self.p_values[name])
        figure.suptitle(f"{name}: {self.p_values[name].p.size:,} markers, {self.how}", parse_math=False)
        return figure

    def _one(self, trait: str | None) -> str:
        if trait is None and len(self.traits) > 1:
            raise InputError(f"the scan is of {', '.join(self.traits)}: say which (trait)")
        if trait is not None and trait not in self.traits:
            raise InputError(f"the scan is of {', '.join(self.traits)}, not of {trait!r}")
        return next(iter(self.cohorts)) if trait is None else trait

    def _answers(self, trait: str) -> list[str]:
        nothing = pd.DataFrame()
        return scan_answers(trait, self.numbers[trait], self.top(1, trait=trait), nothing, nothing)


def fit_scan(
    formula: str,
    *,
    data: pd.DataFrame,
    genotypes: str | Path | Genotypes,
    kinship: KinshipLike | None = None,
    loco: bool = False,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    transform: Transform | None = None,
    test: Literal["exact", "null"] = "exact",
    maf: float = MAF,
    geno: float = GENO,
    interaction: Sequence[str] = (),
    ols: bool = False,
    covariate_effects: bool = False,
    prior_effect: float = PRIOR_EFFECT,
    pcs: int = 0,
    centre: bool = False,
    normalise: bool = False,
    bend: bool = False,
) -> Scan:
    """Test markers for traits of a DataFrame. The tests of all markers are held in memory.

    Args:
        formula: ``CD8 + MCH ~ sex``, as `fit` takes it; each trait is tested by itself.
        data: one row for each individual.
        genotypes: opened, or their path: the markers to test.
        kinship: as in `fit`; by default that of the genotypes.
        loco: test each chromosome against the kinship of all others.
        id: the column of ids; by default they are the index.
        ids: of the rows of a kinship that is an array.
        transform: analyse ``log`` or ``rank``, the logarithms or the normal scores of each trait.
        test: variance ratio estimated anew with each marker, or that of the model without markers.
        maf: least minor allele frequency, of those tested and of those in the kinship.
        geno: largest missing rate of them.
        interaction: covariates to test the product of each marker with.
        ols: add least squares without kinship.
        covariate_effects: add the effects of covariates beside each marker; needs the test "null".
        prior_effect: prior standard deviation of an effect for the Bayes factor, in those of the trait given its
            covariates.
        pcs: how many leading principal components of K to add to the covariates.
        centre: centre K on the individuals analysed.
        normalise: divide it by its mean diagonal.
        bend: set all its negative eigenvalues to 0.

    Raises:
        InputError: for what the user can fix in the formula, the DataFrame, genotypes, kinship or options.
    """
    if loco and kinship is not None:
        raise InputError("loco computes its kinships from the genotypes: leave out the kinship")
    if covariate_effects and test != "null":
        raise InputError('covariate_effects needs the test "null"')
    markers = Markers.of(genotypes if isinstance(genotypes, Genotypes) else open_genotypes(genotypes))
    whole = (
        genomic_kinship(markers.genotypes, maf=maf, geno=geno) if kinship is None else kinship_of(kinship, ids=ids)[0]
    )
    K, without_any = genotyped(whole, markers.genotypes)
    people = measurements_of(formula, data, id=id, kinship=K, transform=transform)
    settings = ScanSettings(
        test=test, maf=maf, geno=geno, ols=ols, interaction=interaction, covariate_effects=covariate_effects,
        prior_effect=prior_effect,
    )  # fmt: skip
    options = {"centred": centre, "normalised": normalise}
    tables: list[pd.DataFrame] = []
    numbers: dict[str, dict[str, Any]] = {}
    p_values: dict[str, PValues] = {}
    cohorts: dict[str, Cohort] = {}
    tasks = tasks_of(markers, loco=loco)
    for cohort in align(K, people, **options):
        spectrum = decompose(cohort.K, where=cohort.source, bend=bend)
        cohort = with_principal_components(_noted(cohort, whole, markers, without_any), spectrum, pcs)
        found: list[pd.DataFrame] = []
        with progress_bar("scan", total=markers.genotypes.n_markers, unit="marker") as bar:
            for task in tasks:
                against = spectrum_against(task, K, markers, cohort, spectrum, **options, bend=bend)
                for number, table in block_tables(markers, cohort, against, task.blocks, settings):
                    found.append(table)
                    bar.update(len(task.blocks[number]))
        counts = sum((MarkerCounts(**table.attrs["markers"]) for table in found), start=MarkerCounts())
        tests = pd.concat(found, ignore_index=True).drop(columns="line")
        least, order = least_allele_counts(cohort), list(markers.chromosomes)
        for trait in cohort.traits:
            p, of_trait = numbers_of(
                tests[tests["trait"] == trait], counts, n=len(cohort.ids), least_count=least[trait], order=order
            )
            numbers[trait] = of_trait | {"n": len(cohort.ids), "covariates": list(cohort.covariates[0])}
            cohorts[trait] = cohort
            if p is not None:
                p_values[trait] = p
        tables.append(tests)
    return Scan(pd.concat(tables, ignore_index=True), numbers, p_values, cohorts, HOW[test], whole.origin_line())


def _noted(cohort: Cohort, kinship: Kinship, markers: Markers, without_any: Sequence[str]) -> Cohort:
    """Return the cohort with those of a given kinship who have no genotypes among the dropped."""
    if not without_any:
        return cohort
    drop = Drop(
        f"in {kinship.source} without genotypes in {markers.genotypes.path}", len(without_any), tuple(without_any[:3])
    )
    return replace(cohort, dropped=(drop, *cohort.dropped))
