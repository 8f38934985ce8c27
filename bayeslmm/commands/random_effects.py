"""The options about random effects beside the kinship: groups, further kinships, repeated records, sets of markers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bayeslmm.base.checks import InputError, examples
from bayeslmm.cohort.align_records import PERMANENT
from bayeslmm.cohort.records import RESIDUAL
from bayeslmm.commands.genotypes import OPTIONS
from bayeslmm.commands.inference import ComponentsPriorSettings
from bayeslmm.commands.random_kinship import RANDOM_KINSHIP, RandomKinship, random_kinship
from bayeslmm.commands.settings import KinshipSettings, TableSettings
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.partition import CHROMOSOME, Partition, by_chromosome, read_partition

KINSHIP = "u"
"""Name of the component of the kinship of the options."""
OPTIONS_OF_SEVERAL = f"--random, {RANDOM_KINSHIP}, --repeated, --partition"
"""What asks for several components."""
_OF_ONE_KINSHIP = ("bend", "eigen")


@dataclass(frozen=True)
class RandomEffects:
    """Components of variance beside that of the kinship."""

    random: tuple[str, ...]
    random_kinship: tuple[str, ...]
    repeated: bool
    partition: str | None
    h2_of: tuple[str, ...]
    bayes_factors: bool

    def __post_init__(self) -> None:
        _check_names([*self.random, *(one.name for one in self.further)])
        if twice := [name for name in self.h2_of if self.h2_of.count(name) > 1]:
            raise InputError(f"--h2-of names {twice[0]!r} twice: name each component once")
        if not self.several and (self.h2_of or self.bayes_factors):
            option = "--h2-of" if self.h2_of else "--bayes-factors"
            raise InputError(f"{option} needs several components ({OPTIONS_OF_SEVERAL})")

    @cached_property
    def further(self) -> tuple[RandomKinship, ...]:
        """The further kinships as they were typed."""
        return tuple(map(random_kinship, self.random_kinship))

    @property
    def several(self) -> bool:
        """Whether there are components beside the kinship, or several in its place."""
        return bool(self.random or self.random_kinship or self.repeated or self.partition)

    @property
    def files(self) -> list[Path]:
        """What is read beside tables and kinship."""
        of_sets = [Path(self.partition)] if self.partition and self.partition != CHROMOSOME else []
        return [*of_sets, *(file for one in self.further for file in one.files)]

    def of_table(self, tables: TableSettings) -> "tuple[tuple[str, ...], bool]":
        """Return the groups and whether records are repeated: a column of ids is no group, but says so."""
        ids = tables.id if len(tables.id) == 1 else ("IID", "#IID")
        groups = tuple(name for name in self.random if name not in ids)
        return groups, self.repeated or len(groups) < len(self.random)

    def check(self, kinship: KinshipSettings) -> None:
        """Refuse options of one kinship where there are several, and a partition without genotypes.

        Raises:
            InputError: naming the option.
        """
        if not self.several:
            return
        for option in _OF_ONE_KINSHIP:
            if getattr(kinship, option):
                raise InputError(
                    f"--{option} is about the decomposition of one kinship, and there are several: leave it out"
                )

        if self.partition and not kinship.genotypes:
            raise InputError(f"--partition divides the markers of genotypes ({OPTIONS}), which were not given")
        if self.partition and kinship.grm_cutoff is not None:
            raise InputError(
                "--grm-cutoff is about the kinship of all markers, and --partition makes others: choose individuals by "
                "--keep"
            )

    def check_components(self, tables: TableSettings, prior: ComponentsPriorSettings) -> None:
        """Refuse names that no component has, where no file has to be read to know the components.

        Raises:
            InputError: naming the option.
        """
        if self.partition is None:
            groups, repeated = self.of_table(tables)
            names = [KINSHIP, *(one.name for one in self.further), *groups, *[PERMANENT] * repeated]
            self.heritable((), names)
            prior.of_components([*names, RESIDUAL])

    def check_alone(self, given: Mapping[str, object]) -> None:
        """Refuse options, by name with their values, that are about a single kinship.

        Raises:
            InputError: naming the first that is given.
        """
        for option, value in given.items():
            if value:
                raise InputError(f"{option} is about a single kinship, and there are several components: leave it out")

    def partition_of(self, genotypes: Genotypes) -> Partition:
        """Return the sets of markers; say what is left out.

        Raises:
            InputError: as `read_partition`; if a set has the name of another component.
        """
        sets = (
            by_chromosome(genotypes)
            if self.partition == CHROMOSOME
            else read_partition(self.partition or "", genotypes)
        )
        _check_names([*self.random, *(one.name for one in self.further), *sets.names])
        for line in sets.said:
            print(line)
        return sets

    def heritable(self, relations: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
        """Return the components whose shares together are h2.

        Args:
            relations: names of the kinships.
            names: of all components.

        Raises:
            InputError: if the options name another.
        """
        if unknown := [name for name in self.h2_of if name not in names]:
            raise InputError(f"--h2-of {unknown[0]}: the components are {examples(names, most=12)}")
        elsewhere = {one.name for one in self.further if not one.what.startswith("chr")}
        return self.h2_of or tuple(name for name in relations if name not in elsewhere)


def _check_names(names: Sequence[str]) -> None:
    """Refuse a name that two random effects have, and those of components that are always called so."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two random effects are called {twice[0]!r}: give each a name of its own")
    if taken := [name for name in names if name in (KINSHIP, PERMANENT, RESIDUAL)]:
        raise InputError(
            f"{taken[0]!r} cannot be the name of a random effect: {KINSHIP} is the kinship, {PERMANENT} the "
            f"permanent environment of --repeated, {RESIDUAL} the residual: rename it"
        )
