"""Formats of genotypes: what each must offer, and those that are known.

A further format is a module with a `Source` and an entry in `FORMATS`: commands make an option of each.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:  # the command line shows its options without these
    import pandas as pd
    from jaxtyping import Float
    from numpy import ndarray


@runtime_checkable
class Reader(Protocol):
    """Genotypes open for reading."""

    def read(
        self, rows: "ndarray | None", lines: "Sequence[int] | ndarray", dtype: Literal["float32", "float64"]
    ) -> "Float[ndarray, 'n b']":
        """Return dosages of a1, NaN where they are missing, column-major.

        Args:
            rows: which individuals; all where it is None.
            lines: which markers, from 0.
            dtype: of the dosages.

        Raises:
            InputError: if the file has changed since it was opened.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """Genotypes in one format, opened and checked but not read."""

    @property
    def path(self) -> Path:
        """The file with the dosages, for messages."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """IID of each individual, in the order of the file."""
        ...

    @property
    def families(self) -> tuple[str, ...]:
        """Their FID, "0" where the format has none."""
        ...

    @property
    def variants(self) -> "pd.DataFrame":
        """One row for each marker, in the order of the file: chrom, snp, pos, a1 (whose dosage is counted), a0."""
        ...

    def reader(self) -> AbstractContextManager[Reader]:
        """Open the genotypes for reading, inside a block."""
        ...


class Format(NamedTuple):
    """A format of genotypes.

    Attributes:
        name: of its option.
        metavar: of the value of that option, a path.
        help: what is read there.
        open: the path -> its genotypes; raises `InputError` for files that are none.
        files: the path -> the files that are read.
    """

    name: str
    metavar: str
    help: str
    open: Callable[[str | Path], Source]
    files: Callable[[str | Path], list[Path]]


def plink_files(prefix: str | Path) -> list[Path]:
    """Return the ``.bed``, ``.bim`` and ``.fam`` of a PLINK 1 fileset."""
    return [Path(f"{prefix}.{suffix}") for suffix in ("bed", "bim", "fam")]


def _open_plink(prefix: str | Path) -> Source:
    from bayeslmm.genotypes.plink import open_plink

    return open_plink(*plink_files(prefix))


FORMATS = {
    "bfile": Format("bfile", "X", "PLINK 1 genotypes X.bed, X.bim, X.fam", _open_plink, plink_files),
}
"""By the name of their option."""
