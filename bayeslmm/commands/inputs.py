"""What a command reads: tables, and a kinship matrix or the genotypes to make it from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import Fingerprint, changed, fingerprints
from bayeslmm.cohort.measurements import Measurements, measure
from bayeslmm.cohort.tables import SEVERAL_RECORDS, read_table
from bayeslmm.commands.clock import Clock
from bayeslmm.commands.genotypes import OPTIONS
from bayeslmm.commands.random_effects import KINSHIP, RandomEffects
from bayeslmm.commands.random_kinship import further_kinship
from bayeslmm.commands.settings import KinshipSettings, TableSettings
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.selection import Selection
from bayeslmm.kinship.eigen_files import read_eigen
from bayeslmm.kinship.files import read_kinship
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.grm import read_grm
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.partition import markers_of, partition_kinships
from bayeslmm.kinship.pedigree import pedigree_kinship
from bayeslmm.kinship.products import Products
from bayeslmm.kinship.relation import Relation
from bayeslmm.kinship.unrelated import relatives_line, without_relatives

_REPEATED = f"h2 and rg analyse several records of an individual with --repeated; else {SEVERAL_RECORDS}"
_OF_RECORDS = f"covariates that differ between records are columns of the table of phenotypes; else {SEVERAL_RECORDS}"

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K = TypeVar("K", default=Kinship)
else:
    from typing import TypeVar

    K = TypeVar("K")

type ChooseProducts = Callable[[Measurements, Genotypes | None], "tuple[Products, str] | None"]
"""What was measured, genotypes if K is made of some -> K as something that multiplies, and why; None for a matrix."""


@dataclass(frozen=True)
class Inputs(Generic[K]):  # noqa: UP046 (as `Cohort`)
    """What the files hold, before individuals are matched.

    Attributes:
        measurements: traits and covariates.
        kinship: of everybody; of `h2`, it may be products.
        markers: the genotypes behind it, if it was computed from some.
        files: all that was read, with fingerprints.
        relations: the kinships of several components of variance, of which ``kinship`` is the first; empty for one.
        taken_as: how the kinship is kept, and why.
    """

    measurements: Measurements
    kinship: K
    markers: MarkerBlocks | None
    files: Mapping[str, Fingerprint]
    relations: tuple[Relation, ...] = ()
    taken_as: str = "matrix"

    def changed_genotypes(self) -> list[str]:
        """Return the files of genotypes, which are read more than once, that have changed since."""
        genotypes = map(str, self.markers.genotypes.files) if self.markers else ()
        return changed({path: self.files[path] for path in genotypes})


def read_measurements(tables: TableSettings, random: RandomEffects | None = None) -> Measurements:
    """Read traits and covariates, and groups if there are several components of variance.

    Raises:
        InputError: as `read_table` and `measure` do.
    """
    groups, repeated = random.of_table(tables) if random else ((), False)
    everything = (bool(tables.of_covariates) and tables.covariates is None) or tables.formula is not None
    read = partial(
        read_table, missing=tables.missing, id=tables.id, advice=_OF_RECORDS if repeated else SEVERAL_RECORDS
    )
    return measure(
        read(tables.pheno, repeated=repeated, advice=_REPEATED),
        tables.trait,
        covariate_table=read(tables.covar, unnamed="COVAR") if tables.covar else None,
        quantitative_table=read(tables.qcovar, unnamed="QCOVAR") if tables.qcovar else None,
        covariates=None if everything else tables.named,
        categorical=tables.categorical,
        intercept=not tables.no_intercept,
        formula=tables.formula,
        transform=tables.transform,
        two_values=tables.two_values,
        random=groups,
    )


def traits_of(
    pheno: str, numbers: Sequence[int] | None, *, id: Sequence[str], missing: Sequence[str]
) -> tuple[str, ...]:
    """Return the traits that are analysed where none is named: those of some numbers, or the only one.

    Args:
        pheno: the table of phenotypes.
        numbers: which columns, from 1; the first by default in a file whose columns have no names.
        id: its column of ids.
        missing: its codes of missing values.

    Raises:
        InputError: if there is no such column, or it is not clear which one is meant; as `read_table`.
    """
    table = read_table(pheno, missing=missing, id=id, repeated=True)
    names = table.numbered
    if numbers is None and (len(names) == 1 or (names and table.minus_nine)):
        numbers = [1]
    if not numbers:
        raise InputError(f"{pheno} has the columns {examples(names, most=12)}: name those to analyse (--trait)")
    if beyond := [number for number in numbers if number > len(names)]:
        raise InputError(
            f"--mpheno {beyond[0]}: {pheno} has {len(names)} columns of phenotypes ({examples(names, most=12)})"
        )
    return tuple(names[number - 1] for number in numbers)


def read_inputs(
    tables: TableSettings,
    kinship: KinshipSettings,
    clock: Clock,
    known: Mapping[str, Fingerprint] | None = None,
    genotypes: Genotypes | None = None,
    random: RandomEffects | None = None,
    products: ChooseProducts | None = None,
    read: Callable[[TableSettings], Measurements] | None = None,
) -> Inputs[Any]:
    """Read the tables and make or read the kinship matrix, or several.

    Args:
        tables: traits and covariates.
        kinship: where K comes from.
        clock: of the run.
        known: fingerprints of files that were taken already.
        genotypes: those of the options, if they are open.
        random: effects beside the kinship, if there are any.
        products: whether the kinship is multiplied with in place of a matrix; it is not without.
        read: reads traits and covariates; by default `read_measurements`.

    Raises:
        InputError: for errors in the files that the user can fix, or if one changes while it is read.
    """
    files = dict(known or {})

    def mark(paths: Sequence[Path]) -> None:
        files.update(fingerprints(path for path in paths if str(path) not in files))

    # Tables before genotypes: a misspelt trait is reported at once, not after the kinship matrix.
    with clock.step("tables"):
        mark(tables.files)
        measurements = read(tables) if read else read_measurements(tables, random)
    for note in measurements.notes:
        print(note)
    with clock.step("kinship"):
        mark([*kinship.files, *(random.files if random else [])])
        if genotypes is None and kinship.genotypes:
            genotypes = kinship.genotypes.open(kinship.markers.chr, kinship.selection)
        chosen = products(measurements, genotypes) if products else None
        relations = [] if chosen else [*_relations(kinship, genotypes, random, missing=tables.missing)]
        if not relations and not chosen:
            raise InputError(f"a kinship is needed: genotypes ({OPTIONS}), --grm, --kinship or --pedigree")
    used = kinship.markers
    markers = MarkerBlocks(genotypes, used.scale, used.maf, used.geno) if genotypes else None
    if others := changed(files):
        raise InputError(f"{examples(others)} changed while it was read: start again when nothing writes to it")
    if chosen:
        return Inputs(measurements, chosen[0], markers, files, taken_as=chosen[1])
    return Inputs(measurements, relations[0].kinship, markers, files, tuple(relations) if random else ())


def _relations(
    kinship: KinshipSettings, genotypes: Genotypes | None, random: RandomEffects | None, *, missing: Sequence[str]
) -> tuple[Relation, ...]:
    """Return the kinship, or that of each set of markers, then the further ones; say what each is."""
    used = kinship.markers
    filters = {"scale": used.scale, "maf": used.maf, "geno": used.geno}
    relations: list[Relation] = []
    if random and random.partition and genotypes:
        sets = partition_kinships(genotypes, random.partition_of(genotypes), **filters)
        print(
            f"a kinship of each set of markers: {', '.join(f'{name} ({markers_of(K):,})' for name, K in sets.items())}"
        )
        relations += [Relation(name, K) for name, K in sets.items()]
    elif matrix := _kinship(kinship, genotypes, missing=missing):
        relations.append(Relation(KINSHIP, _unrelated(matrix, kinship.grm_cutoff)))
    for one in random.further if random else ():
        options = kinship.genotypes.options if kinship.genotypes else None
        further = further_kinship(one, missing=missing, selection=kinship.selection, options=options, **filters)
        print(further.line())
        relations.append(further)
    return tuple(relations)


def _kinship(kinship: KinshipSettings, genotypes: Genotypes | None, *, missing: Sequence[str]) -> Kinship | None:
    """Return the kinship that is given, or that of genotypes; say which markers or animals it is made of."""
    if kinship.given:
        matrix = _selected(_given_kinship(kinship, missing=missing), kinship.selection)
    elif genotypes:
        used = kinship.markers
        matrix = genomic_kinship(genotypes, scale=used.scale, maf=used.maf, geno=used.geno)
    else:
        return None
    if line := matrix.origin_line():
        print(line)
    return matrix


def _unrelated(kinship: Kinship, cutoff: float | None) -> Kinship:
    """Leave relatives out; say whom."""
    if cutoff is None:
        return kinship
    kinship = without_relatives(kinship, cutoff)
    print(relatives_line(kinship))
    return kinship


def _given_kinship(kinship: KinshipSettings, *, missing: Sequence[str]) -> Kinship:
    if kinship.grm:
        return read_grm(kinship.grm)
    if kinship.pedigree:
        return pedigree_kinship(kinship.pedigree, missing=missing)
    if kinship.gemma_eigen and kinship.fam:
        return read_eigen(*kinship.gemma_eigen, fam=kinship.fam)
    return read_kinship(kinship.kinship or "", fam=kinship.fam)


def _selected(kinship: Kinship, selection: Selection) -> Kinship:
    """Take the rows of the individuals that are chosen; say how many."""
    chosen = selection.individuals(kinship.ids, where=kinship.source)
    for line in chosen.said:
        print(line)
    details = kinship.details | {"selection": list(chosen.said)}
    return (
        replace(kinship.take(chosen.places), source=f"the selection of {kinship.source}", details=details)
        if chosen.said
        else kinship
    )
