"""VCF and BCF genotypes, read by cyvcf2 from the first record to the last: no index is needed."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning, check_readable, check_unique
from bayeslmm.base.extras import optional
from bayeslmm.base.files import reading
from bayeslmm.genotypes.calls import check_calls, dosages_of
from bayeslmm.genotypes.variants import MarkerTable, markers_of

_BGZF, _END = b"\x1f\x8b\x08\x04", bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Vcf:
    """A VCF or BCF, opened; a `Source`, made by `open_vcf`.

    Attributes:
        path: of the file.
        ids: of the samples.
        markers: one for each alternate allele.
        dosage: "GT" for calls, "DS" for dosages where there are some.
        said: the warnings that were given, so that each is given once.
    """

    path: Path
    ids: tuple[str, ...]
    markers: MarkerTable
    dosage: str
    said: list[str] = field(default_factory=list)

    @property
    def families(self) -> tuple[str, ...]:
        """Unknown: a VCF has none."""
        return ("0",) * len(self.ids)

    @property
    def variants(self) -> pd.DataFrame:
        """One row for each marker, as `Source.variants`."""
        return self.markers.variants

    @contextmanager
    def reader(self) -> Iterator["VcfReader"]:
        """Open the file for reading; warn of half calls at the end."""
        reader = VcfReader(self)
        yield reader
        warn_of_half_calls(self.path, reader.half_calls, self.said)


class VcfReader:
    """A VCF on its way from the first record to the last; a `Reader`, for which ascending markers are quick.

    Attributes:
        half_calls: how many were read.
    """

    def __init__(self, source: Vcf) -> None:
        self.half_calls = 0
        self._source = source
        self._next = 0
        self._records: Iterator[Any] = iter(())
        self._calls: ndarray | None = None
        self._dosages: ndarray | None = None

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`.

        Raises:
            InputError: for a record that is damaged, or of more than two copies of a chromosome.
        """
        source, lines = self._source, np.asarray(lines, dtype=np.int64)
        n = len(source.ids)
        G = np.empty((len(lines), n if rows is None else len(rows)), dtype=dtype)
        for j in np.argsort(lines, kind="stable"):
            self._go_to(int(source.markers.record[lines[j]]))
            allele = source.markers.allele[lines[[j]]]
            if self._calls is None and self._dosages is None:
                G[j] = np.nan
                continue
            if self._dosages is not None and self._dosages.shape[2] < allele[0]:
                raise InputError(f"{self._where()}: DS has fewer values than there are alternate alleles")
            whole, half_calls = dosages_of(allele, self._calls, self._dosages)
            self.half_calls += half_calls
            G[j] = whole[0] if rows is None else whole[0, rows]
        return G.T

    def _go_to(self, record: int) -> None:
        """Read up to a record, from the start of the file if it lies behind."""
        if record == self._next - 1:
            return
        if record < self._next or not self._next:
            self._records, self._next = iter(_opened(self._source.path)), 0
        while self._next < record:
            self._advance()
        variant = self._advance()
        self._calls = self._dosages = None
        with _damage(self._source.path, record):
            fields = variant.FORMAT or ()
            if "GT" in fields:
                # The last column says whether they are phased.
                self._calls = np.ascontiguousarray(variant.genotype.array()[:, :-1])[None]
            if self._source.dosage == "DS" and "DS" in fields:
                self._dosages = variant.format("DS")[None]
        if self._calls is not None and self._calls.shape[2] > 2:
            copies = self._calls.shape[2]
            raise InputError(f"{self._where()}: somebody has {copies} copies, at most two are understood")
        check_calls(self._calls, self._dosages, alternates=len(variant.ALT), where=self._where())

    def _advance(self) -> Any:
        """Return the next record."""
        with _damage(self._source.path, self._next):
            variant = _next(self._records)
        if variant is None:
            raise InputError(
                f"{self._source.path} has fewer records than before: start again when nothing writes to it"
            )
        self._next += 1
        return variant

    def _where(self) -> str:
        return f"{self._source.path} record {self._next}"


def open_vcf(path: Path, *, dosage: str | None = None) -> Vcf:
    """Open a VCF or BCF, and read its samples and the names of its markers.

    Args:
        path: of the file, which may be compressed.
        dosage: "GT", the default, for calls; "DS" for dosages, and calls where a marker or individual has none.

    Raises:
        InputError: for a file that is none, damaged or cut off, without samples or markers, or without the field; or
            cyvcf2 is not installed.
    """
    check_readable(path)
    _check_end(path)
    file = _opened(path)
    try:
        ids = tuple(file.samples)
    except UnicodeDecodeError:
        raise InputError(f"{path} has names of samples that are not UTF-8: convert it (iconv)") from None
    if not ids:
        raise InputError(f"{path} has no samples: genotypes are needed, not a list of sites")
    check_unique(ids, where=path)
    wanted = field_of(path, dosage, [name for name in ("GT", "DS") if file.contains(name)])
    rows: list[tuple[str, str, int, str, str]] = []
    records = iter(_opened(path, samples=[]))
    while True:
        with _damage(path, len(rows)):
            if (variant := _next(records)) is None:
                break
            alternates = ",".join(variant.ALT) or "."
            rows.append((variant.CHROM, variant.ID or ".", variant.POS, variant.REF, alternates))
    if not rows:
        raise InputError(f"{path} has no record: there is no marker to read")
    table = pd.DataFrame(rows, columns=["chrom", "snp", "pos", "a0", "a1"])
    return Vcf(path, ids, markers_of(table), wanted)


def field_of(path: Path, dosage: str | None, present: Sequence[str]) -> str:
    """Return the field that is read: the one asked for, else GT; warn where DS is there and nobody chose.

    Raises:
        InputError: if it is not there; it says whether the other is.
    """
    wanted = dosage or "GT"
    if wanted not in present:
        other = f"it has {present[0]}: choose that (dosage)" if present else "it has neither GT nor DS: add one of them"
        raise InputError(f"{path} has no field {wanted}, but {other}")
    if dosage is None and "DS" in present:
        text = f"{path}: calls (GT) are read, though it has dosages (DS) too: choose one (dosage)"
        warnings.warn(text, InputWarning, stacklevel=3)
    return wanted


def warn_of_half_calls(path: Path, count: int, said: list[str]) -> None:
    """Warn of calls of which one allele is missing, if that was not said."""
    if count and not said:
        said.append(f"{path}: {count:,} half calls (0/. or such) are taken as missing")
        warnings.warn(said[0], InputWarning, stacklevel=3)


def _opened(path: Path, **options: Any) -> Any:
    cyvcf2 = optional("cyvcf2", extra="vcf", what=str(path))
    try:
        return cyvcf2.VCF(str(path), **options)
    except Exception:  # cyvcf2 raises that; htslib says on standard error what it found
        raise InputError(f"{path} must be a VCF or BCF, but it does not begin like one: check the name") from None


def _next(records: Iterator[Any]) -> Any:
    """Return the next record, None at the end.

    Raises:
        ValueError: for a record that htslib gave up, which cyvcf2 returns if its chromosome is not in the header: to
            ask it for alleles would crash.
    """
    variant = next(records, None)
    if variant is not None and variant.end < variant.POS:
        raise ValueError
    return variant


@contextmanager
def _damage(path: Path, record: int) -> Iterator[None]:
    """Turn what cyvcf2 raises at a record into one line about it."""
    try:
        yield
    except Exception:  # it raises that, and htslib says on standard error what it found
        raise InputError(
            f"{path} record {record + 1} is damaged or cut off: copy the file again, or look at it with bcftools view"
        ) from None


def _check_end(path: Path) -> None:
    """Refuse a file compressed by bgzip without the block that ends it.

    Raises:
        InputError: as such a file was cut off, perhaps between two records.
    """
    with reading(path), path.open("rb") as stream:
        if stream.read(4) != _BGZF:
            return
        stream.seek(-min(len(_END), path.stat().st_size), 2)
        if stream.read() != _END:
            raise InputError(f"{path} is a compressed file that is cut off: copy it again")
