"""Which of thousands of traits are analysed, and of which there is more than a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bayeslmm.base.checks import InputError, examples


@dataclass(frozen=True)
class ManySettings:
    """Traits that are analysed all at once.

    Attributes:
        all_traits: all columns.
        trait_columns: those that patterns match.
        pictures: traits that are analysed one by one too, with pictures.
        nuts_for: those that are so by NUTS too.
    """

    all_traits: bool
    trait_columns: tuple[str, ...]
    pictures: tuple[str, ...]
    nuts_for: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.detailed and not self.asked:
            option = "--pictures" if self.pictures else "--nuts-for"
            raise InputError(f"{option} is about --all-traits or --trait-columns: --trait has pictures and NUTS anyway")
        for trait in self.detailed:
            if Path(trait).name != trait or trait == "..":
                raise InputError(f"results are named after traits, so {trait!r} cannot be one of --pictures: rename it")

    @property
    def asked(self) -> bool:
        """Whether traits are analysed all at once."""
        return self.all_traits or bool(self.trait_columns)

    @property
    def detailed(self) -> tuple[str, ...]:
        """Traits that are analysed one by one too."""
        return tuple(dict.fromkeys([*self.pictures, *self.nuts_for]))

    def check_known(self, traits: Sequence[str], *, where: str) -> None:
        """Refuse details of a trait that is not analysed.

        Raises:
            InputError: naming it.
        """
        known = set(traits)
        if unknown := [trait for trait in self.detailed if trait not in known]:
            raise InputError(
                f"--pictures and --nuts-for: {unknown[0]} is not among the traits of {where} ({examples(traits)})"
            )
