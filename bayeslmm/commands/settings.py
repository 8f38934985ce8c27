"""The options of a command with types: built once from what was typed, and checked where they are built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.commands.genotypes import OPTIONS, GenotypeFile
from bayeslmm.genotypes.selection import Selection
from bayeslmm.kinship.names import grm_files, kinship_files

OF_THE_RUN = ("no_plots", "quiet", "json", "log_file", "threads", "cluster", "config")
"""Options that change no number of a result, but how it is shown and computed."""


def build[S](group: type[S], values: Mapping[str, Any]) -> S:
    """Return a group of options, one for each field of its class; a field that is a group takes its own.

    Args:
        group: a dataclass.
        values: of all options, by name.

    Raises:
        InputError: for options that cannot work together.
    """
    wanted = fields(group)  # pyright: ignore[reportArgumentType]
    return group(**{field.name: _value(field.type, field.name, values) for field in wanted})


def _value(kind: Any, name: str, values: Mapping[str, Any]) -> Any:
    nested = isinstance(kind, type) and is_dataclass(kind)
    return build(kind, values) if nested else _fixed(values[name])


def _fixed(value: Any) -> Any:
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def as_typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as JSON has them, without the name of the command."""
    return {name: _plain(value) for name, value in values.items() if name != "command"}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def option(name: str) -> str:
    """Return an option as it is typed."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class MarkerSettings:
    """How markers are standardised, and which are used."""

    scale: str = SCALE
    maf: float = MAF
    geno: float = GENO
    chr: tuple[str, ...] = ()


@dataclass(frozen=True)
class KinshipSettings:
    """Where K comes from, and how it is changed."""

    genotypes: GenotypeFile | None
    grm: str | None
    kinship: str | None
    pedigree: str | None
    gemma_eigen: tuple[str, str] | None
    fam: str | None
    markers: MarkerSettings
    selection: Selection
    grm_cutoff: float | None
    centre: bool
    normalise: bool
    bend: bool
    eigen: Path | None

    def __post_init__(self) -> None:
        if self.fam and not (self.kinship or self.gemma_eigen):
            raise InputError(f"--fam {self.fam} gives the ids of --kinship or --gemma-eigen, which was not given")
        if self.gemma_eigen and not self.fam:
            raise InputError("--gemma-eigen holds no ids: give the .fam of the same run of GEMMA (--fam)")
        for field in fields(self.markers) if self.given else ():
            tested = self.genotypes and field.name in ("maf", "geno")  # of the markers that are tested
            if getattr(self.markers, field.name) != field.default and not tested:
                raise InputError(
                    f"{option(field.name)} applies to genotypes ({OPTIONS}): a given kinship is used unchanged"
                )
        if self.selection.of_markers and not self.genotypes:
            raise InputError(f"--{self.selection.of_markers[0]} chooses markers of genotypes ({OPTIONS}): leave it out")

    @property
    def given(self) -> bool:
        """Whether K is not computed from genotypes."""
        return bool(self.grm or self.kinship or self.pedigree or self.gemma_eigen)

    @property
    def files(self) -> list[Path]:
        """What is read."""
        files = [Path(file) for file in (self.pedigree, *(self.gemma_eigen or ())) if file]
        files += kinship_files(self.kinship, self.fam) if self.kinship else [Path(self.fam)] if self.fam else []
        files += [*self.selection.files, *(self.genotypes.files if self.genotypes else [])]
        return files + (list(grm_files(self.grm)) if self.grm else [])


@dataclass(frozen=True)
class TableSettings:
    """Which traits and covariates are taken from which tables."""

    pheno: str
    id: tuple[str, ...]
    trait: tuple[str, ...]
    covar: str | None
    qcovar: str | None
    covariates: tuple[str, ...] | None
    formula: str | None
    categorical: tuple[str, ...]
    pcs: int
    no_intercept: bool
    missing: tuple[str, ...]
    log: bool
    rank_normalise: bool

    def __post_init__(self) -> None:
        if self.formula is not None:
            if self.named:
                raise InputError("--formula takes the place of --covariates and --covariates-of: leave one out")
            if self.no_intercept:
                raise InputError(
                    "--formula says whether there is an intercept: leave out --no-intercept, write '~ 0 + ...'"
                )
            return
        if not self.of_covariates and not self.named and self.categorical:
            raise InputError(f"--categorical {self.categorical[0]} needs --covariates, --covar or --formula")
        if self.no_intercept and not self.pcs and not self.of_covariates and not self.named:
            raise InputError(
                "--no-intercept leaves no fixed effect: leave it out, or give covariates that include the mean"
            )

    @property
    def named(self) -> tuple[str, ...]:
        """The covariates that options name, for all traits or for some."""
        return self.covariates or ()

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [Path(file) for file in (self.pheno, *self.of_covariates)]

    @property
    def of_covariates(self) -> list[str]:
        """The tables of covariates."""
        return [file for file in (self.covar, self.qcovar) if file]

    @property
    def two_values(self) -> bool:
        """Whether traits are known to have two values only."""
        return False

    @property
    def transform(self) -> Literal["log", "rank"] | None:
        """What is done with the values of the traits."""
        return "log" if self.log else "rank" if self.rank_normalise else None


@dataclass(frozen=True)
class EachTrait(TableSettings):
    """Tables whose traits are analysed one at a time, with files of results named after each."""

    def __post_init__(self) -> None:
        for trait in self.trait:
            if Path(trait).name != trait or trait == "..":
                raise InputError(f"{self.pheno}: results are named after traits, so {trait!r} cannot be one: rename it")
        super().__post_init__()


@dataclass(frozen=True)
class HeritableTraits(EachTrait):
    """Tables whose traits may be of two values, those of cases and of others."""

    prevalence: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prevalence is None:
            return
        from bayeslmm.estimators.liability import check_prevalence  # not to wait for SciPy where options are shown

        check_prevalence(self.prevalence, "--prevalence")
        if self.transform:
            raise InputError(
                f"--prevalence is about the two values of a trait: leave out "
                f"{'--log' if self.log else '--rank-normalise'}"
            )

    @property
    def two_values(self) -> bool:
        """Whether traits are known to have two values only."""
        return self.prevalence is not None


def check_together(traits: Sequence[str], option: str) -> None:
    """Refuse names of traits that cannot be analysed together.

    Args:
        traits: their names.
        option: that asks for them.

    Raises:
        InputError: if there are fewer than two, or the same twice, or a name that reads as a pair.
    """
    if len(traits) < 2 or len(set(traits)) < len(traits):
        raise InputError(f"{option} needs two or more different traits, but {' '.join(traits)} was given")
    if colon := [trait for trait in traits if ":" in trait]:
        raise InputError(f"a pair of traits is written A:B, so {colon[0]!r} cannot be the name of one: rename it")


@dataclass(frozen=True)
class TogetherTraits(TableSettings):
    """Tables whose traits are analysed together."""

    covariates_of: tuple[tuple[str, ...], ...]
    complete_only: bool

    def __post_init__(self) -> None:
        check_together(self.trait, "--traits")
        traits = [trait for trait, *_ in self.covariates_of]
        if twice := [trait for trait in traits if traits.count(trait) > 1]:
            raise InputError(f"--covariates-of {twice[0]} was given twice: name all its covariates at once")
        super().__post_init__()

    @property
    def named(self) -> tuple[str, ...]:
        """The covariates that options name, for all traits or for some."""
        of_some = [name for _, *names in self.covariates_of for name in names]
        return tuple(dict.fromkeys([*super().named, *of_some]))


@dataclass(frozen=True)
class OutputSettings:
    """Where results go, and what ``run.json`` says of the command that wrote them.

    Attributes:
        out: the folder.
        overwrite: remove the results of an earlier run.
        command: its name.
        options: all that were typed or have a default, as JSON has them.
    """

    out: Path
    overwrite: bool
    command: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class AnalysisSettings:
    """What all commands have that analyse traits."""

    kinship: KinshipSettings
    tables: TableSettings
    output: OutputSettings
    no_plots: bool

    def __post_init__(self) -> None:
        eigen = self.kinship.eigen
        if eigen and not eigen.parent.is_dir() and eigen.parent != self.output.out:
            raise InputError(f"--eigen {eigen}: the folder {eigen.parent} does not exist")
