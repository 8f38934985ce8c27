"""Formats of genotypes: what each must offer, and those that are known.

A further format is a module with a `Source` and an entry in `FORMATS`: commands make an option of each.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from bayeslmm.base.checks import InputError

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
        suffixes: of its files, the one with the dosages first: a path may be given with or without.
        packages: that read it, for the record of a run.
        options: that `open` takes beside the path.
        open: the path -> its genotypes; raises `InputError` for files that are none.
        files: the path -> the files that are read.
    """

    name: str
    metavar: str
    help: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    options: tuple[str, ...]
    open: Callable[..., Source]
    files: Callable[[str | Path], list[Path]]


DOSAGES = ("GT", "DS")
"""Fields of a VCF that genotypes are read from."""

_SUFFIXES = {
    "bfile": (".bed", ".bim", ".fam"),
    "pfile": (".pgen", ".pvar", ".pvar.zst", ".psam"),
    "bgen": (".bgen",),
    "vcf": (".vcf.gz", ".vcf.bgz", ".vcf", ".bcf"),
    "vcz": (".vcz", ".zarr", ".vcz.zip", ".zarr.zip"),
}


def plink_files(path: str | Path) -> list[Path]:
    """Return the ``.bed``, ``.bim`` and ``.fam`` of a PLINK 1 fileset."""
    prefix = _prefix(path, _SUFFIXES["bfile"])
    return [Path(prefix + suffix) for suffix in _SUFFIXES["bfile"]]


def pgen_files(path: str | Path) -> list[Path]:
    """Return the ``.pgen``, the ``.pvar`` or ``.pvar.zst``, and the ``.psam`` of a PLINK 2 fileset."""
    pgen, pvar, compressed, psam = _SUFFIXES["pfile"]
    prefix = _prefix(path, _SUFFIXES["pfile"])
    if not Path(prefix + pvar).exists() and Path(prefix + compressed).exists():
        pvar = compressed
    return [Path(prefix + suffix) for suffix in (pgen, pvar, psam)]


def format_of(path: str | Path) -> str:
    """Return the format of genotypes by the name of their files; "bfile" where there are none.

    Raises:
        InputError: for a name without suffix under which there are several.
    """
    there = formats_there(path)
    if len(there) > 1:
        files = [FORMATS[name].files(path)[0].name for name in there]
        raise InputError(f"{path} may be {' or '.join(files)}: give the whole name of one")
    return [*there, *_named(path), "bfile"][0]


def formats_there(path: str | Path) -> list[str]:
    """Return the formats all of whose files are there under this name, with or without its suffix."""

    def there(form: Format) -> bool:
        files = form.files(path)
        return files[0].name.endswith(form.suffixes) and all(file.exists() for file in files)

    return [name for name in _named(path) or FORMATS if there(FORMATS[name])]


def _named(path: str | Path) -> list[str]:
    return [name for name, form in FORMATS.items() if str(path).endswith(form.suffixes)]


def _prefix(path: str | Path, suffixes: tuple[str, ...]) -> str:
    """Return the path of a fileset without a suffix."""
    if Path(f"{path}{suffixes[0]}").exists():
        return str(path)
    longest = max((suffix for suffix in suffixes if str(path).endswith(suffix)), key=len, default="")
    return str(path).removesuffix(longest)


def _one_file(name: str, path: str | Path) -> list[Path]:
    """Return the file of a format that has one, by its path with or without its suffix."""
    candidates = [Path(path), *(Path(f"{path}{suffix}") for suffix in _SUFFIXES[name])]
    return [next((candidate for candidate in candidates if candidate.exists()), Path(path))]


_bgen_file, _vcf_file, _vcf_zarr_folder = (partial(_one_file, name) for name in ("bgen", "vcf", "vcz"))


def _open_plink(path: str | Path) -> Source:
    from bayeslmm.genotypes.plink import open_plink

    return open_plink(*plink_files(path))


def _open_pgen(path: str | Path) -> Source:
    from bayeslmm.genotypes.pgen import open_pgen

    return open_pgen(*pgen_files(path))


def _open_bgen(path: str | Path, *, sample: str | Path | None = None) -> Source:
    from bayeslmm.genotypes.bgen import open_bgen

    return open_bgen(*_bgen_file(path), sample=sample)


def _open_vcf(path: str | Path, *, dosage: str | None = None) -> Source:
    from bayeslmm.genotypes.vcf import open_vcf

    return open_vcf(*_vcf_file(path), dosage=dosage)


def _open_vcf_zarr(path: str | Path, *, dosage: str | None = None) -> Source:
    from bayeslmm.genotypes.vcf_zarr import open_vcf_zarr

    return open_vcf_zarr(*_vcf_zarr_folder(path), dosage=dosage)


FORMATS = {
    form.name: form
    for form in (
        Format(
            name="bfile",
            metavar="X",
            help="PLINK 1 genotypes X.bed, X.bim, X.fam",
            suffixes=_SUFFIXES["bfile"],
            packages=("bed-reader",),
            options=(),
            open=_open_plink,
            files=plink_files,
        ),
        Format(
            name="pfile",
            metavar="X",
            help="PLINK 2 genotypes X.pgen, X.pvar[.zst], X.psam",
            suffixes=_SUFFIXES["pfile"],
            packages=("pgenlib",),
            options=(),
            open=_open_pgen,
            files=pgen_files,
        ),
        Format(
            name="bgen",
            metavar="F",
            help="BGEN 1.2 genotypes (see --sample)",
            suffixes=_SUFFIXES["bgen"],
            packages=("pyarrow",),
            options=("sample",),
            open=_open_bgen,
            files=_bgen_file,
        ),
        Format(
            name="vcf",
            metavar="F",
            help="VCF or BCF genotypes (see --dosage)",
            suffixes=_SUFFIXES["vcf"],
            packages=("cyvcf2",),
            options=("dosage",),
            open=_open_vcf,
            files=_vcf_file,
        ),
        Format(
            name="vcz",
            metavar="F",
            help="VCF-Zarr genotypes of bio2zarr (see --dosage)",
            suffixes=_SUFFIXES["vcz"],
            packages=("zarr",),
            options=("dosage",),
            open=_open_vcf_zarr,
            files=_vcf_zarr_folder,
        ),
    )
}
"""By the name of their option."""
