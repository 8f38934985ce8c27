"""BGEN 1.2 genotypes with their ids inside or in a ``.sample``; read here, as cbgen crashes on damaged files."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, check_unique
from bayeslmm.base.files import read_lines, reading
from bayeslmm.base.ids import Individuals, individuals_of
from bayeslmm.genotypes.bgen_probabilities import COMPRESSIONS, DamagedError, decompressed, dosage
from bayeslmm.genotypes.variants import MarkerTable, markers_of

_HEAD = 512  # bytes read at once: the names of most markers fit


@dataclass(frozen=True)
class Bgen:
    """A BGEN file, opened but not read; a `Source`, made by `open_bgen`.

    Attributes:
        path: of the file.
        ids: IID of each individual.
        families: their FID.
        markers: one for each alternate allele.
        compression: of the probabilities.
        starts: where those of each record begin, shape (records,).
        sizes: how many bytes they take, shape (records,).
    """

    path: Path
    ids: tuple[str, ...]
    families: tuple[str, ...]
    markers: MarkerTable
    compression: str
    starts: Int64[ndarray, " records"]
    sizes: Int64[ndarray, " records"]

    @property
    def variants(self) -> pd.DataFrame:
        """One row for each marker, as `Source.variants`."""
        return self.markers.variants

    @contextmanager
    def reader(self) -> Iterator["BgenReader"]:
        """Open the file for reading."""
        with reading(self.path), self.path.open("rb") as stream:
            yield BgenReader(self, stream.fileno())


@dataclass(frozen=True)
class BgenReader:
    """An open BGEN file; a `Reader`."""

    source: Bgen
    descriptor: int

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`.

        Raises:
            InputError: naming a marker whose probabilities are damaged, or of more than two copies of a chromosome.
        """
        source = self.source
        n = len(source.ids)
        G = np.empty((len(lines), n if rows is None else len(rows)), dtype=dtype)
        for j, line in enumerate(lines):
            record = source.markers.record[line]
            packed = os.pread(self.descriptor, int(source.sizes[record]), int(source.starts[record]))
            try:
                data = decompressed(packed, source.compression)
                whole = dosage(data, n, int(source.markers.allele[line]))
            except DamagedError as error:
                name = source.variants["snp"].iloc[line]
                raise InputError(f"{source.path} marker {line + 1} ({name}): {error}") from None
            G[j] = whole if rows is None else whole[rows]
        return G.T


class _Header(NamedTuple):
    """Where the markers begin, how many records and individuals there are, and how probabilities are stored."""

    begin: int
    records: int
    n: int
    compression: str
    ids: tuple[str, ...]


def open_bgen(path: Path, *, sample: str | Path | None = None) -> Bgen:
    """Open a BGEN file and read its ids and the names of its markers.

    The first allele of a marker is its reference, the others are alternate, as ``plink2 --export bgen-1.2 ref-first``
    writes them.

    Args:
        path: of the file.
        sample: a ``.sample`` with the ids; by default they are those inside.

    Raises:
        InputError: for a file that is none, of BGEN 1.1, damaged or cut off, without ids, or a ``.sample`` that does
            not fit.
    """
    check_readable(path)
    with reading(path), path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        header = _read_header(stream.fileno(), path)
        individuals = _individuals(path, header, sample)
        table, starts, sizes = _read_records(stream.fileno(), header, size, path)
    return Bgen(path, individuals.ids, individuals.families, markers_of(table), header.compression, starts, sizes)


def read_sample(path: str | Path) -> Individuals:
    """Read an Oxford ``.sample``: a line of names, a line of types, then ``ID_1 ID_2 missing`` and more of each.

    ID_1 is FID and ID_2 is IID; a file with one column of ids only has those.

    Raises:
        InputError: no individual, a second line that does not begin with 0, lines of different widths, repeated ids.
    """
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    if len(lines) < 3 or lines[1][1][0] != "0":
        raise InputError(
            f"{path} must have a line of names, a line of types that begins with 0, and a line for each individual, as "
            "plink2 --export bgen-1.2 writes it"
        )
    names = lines[0][1]
    for number, fields in lines:
        if len(fields) != len(names):
            raise InputError(
                f"{path} line {number}: {len(names)} columns were expected, as in the header, but {len(fields)} "
                "were found"
            )
    two = len(names) > 1 and names[1].upper() == "ID_2"
    families, iids = ([fields[0] if two else "0" for _, fields in lines[2:]], [fields[two] for _, fields in lines[2:]])
    return individuals_of(families, iids, where=path)


def _individuals(path: Path, header: _Header, sample: str | Path | None) -> Individuals:
    if sample is not None:
        individuals = read_sample(sample)
        if len(individuals.ids) != header.n:
            raise InputError(
                f"{sample} has {len(individuals.ids)} individuals, but {path} has {header.n}: give the .sample of the "
                "same run"
            )
        return individuals
    if not header.ids:
        raise InputError(f"{path} has no ids of individuals inside: give its .sample (sample)")
    check_unique(header.ids, where=path)
    return Individuals(("0",) * header.n, header.ids)


def _read_header(descriptor: int, path: Path) -> _Header:
    head = os.pread(descriptor, 24, 0)
    if len(head) < 24 or head[16:20] not in (b"bgen", b"\0\0\0\0"):
        raise InputError(
            f"{path} must be a BGEN file, but it does not begin like one: check the name, or copy it again"
        )
    offset, length, records, n = struct.unpack_from("<4I", head)
    flags = os.pread(descriptor, 4, length)  # the last four bytes of the header, which follows four of the offset
    if len(flags) < 4 or not 20 <= length <= offset:
        raise InputError(f"{path} is damaged: its header has {length} bytes: copy it again")
    (bits,) = struct.unpack("<I", flags)
    layout, compression = bits >> 2 & 15, COMPRESSIONS.get(bits & 3)
    if layout != 2 or compression is None:
        version = "BGEN 1.1 (layout 1)" if layout == 1 else f"layout {layout}, compression {bits & 3}"
        raise InputError(
            f"{path} must be BGEN 1.2 or 1.3 (layout 2), but is {version}: convert it (plink2 --export bgen-1.2)"
        )
    if not records or not n:
        raise InputError(f"{path} has {records} markers of {n} individuals: nothing can be read from it")
    ids: list[str] = []
    if bits >> 31:
        block = os.pread(descriptor, offset - length, 4 + length)
        at = 8
        try:
            if struct.unpack_from("<I", block, 4)[0] != n:
                raise ValueError
            for _ in range(n):
                (width,) = struct.unpack_from("<H", block, at)
                if at + 2 + width > len(block):
                    raise ValueError
                ids.append(block[at + 2 : at + 2 + width].decode())
                at += 2 + width
        except (struct.error, ValueError):
            raise InputError(f"{path} is damaged: its ids of {n} individuals cannot be read: copy it again") from None
    return _Header(4 + offset, records, n, compression, tuple(ids))


def _read_records(
    descriptor: int, header: _Header, size: int, path: Path
) -> tuple[pd.DataFrame, Int64[ndarray, " records"], Int64[ndarray, " records"]]:
    """Read what names each marker, without its probabilities; return where those are, too."""
    rows: list[tuple[str, str, int, str, str]] = []
    starts, sizes = np.empty(header.records, dtype=np.int64), np.empty(header.records, dtype=np.int64)
    at = header.begin
    for k in range(header.records):
        try:
            row, start, length = _read_record(descriptor, at)
        except (struct.error, ValueError):
            raise InputError(
                f"{path} is damaged or cut off at marker {k + 1} of {header.records}: copy it again"
            ) from None
        at = start + length
        if at > size:
            raise InputError(f"{path} is cut off at marker {k + 1} of {header.records}: copy it again")
        rows.append(row)
        starts[k], sizes[k] = start, length
    if at != size:
        raise InputError(f"{path} is too long: {size - at} bytes follow its {header.records} markers: copy it again")
    return pd.DataFrame(rows, columns=["chrom", "snp", "pos", "a0", "a1"]), starts, sizes


def _read_record(descriptor: int, at: int, head: int = _HEAD) -> tuple[tuple[str, str, int, str, str], int, int]:
    """Return chrom, snp, pos, a0 and a1 of a record, where its probabilities begin, and how long they are."""
    data = os.pread(descriptor, head, at)
    try:
        place = 0
        names: list[str] = []
        for _ in range(3):  # id, rsid, chromosome
            (width,) = struct.unpack_from("<H", data, place)
            names.append(data[place + 2 : place + 2 + width].decode())
            place += 2 + width
        pos, count = struct.unpack_from("<IH", data, place)
        place += 6
        alleles: list[str] = []
        for _ in range(count):
            (width,) = struct.unpack_from("<I", data, place)
            alleles.append(data[place + 4 : place + 4 + width].decode())
            place += 4 + width
        (length,) = struct.unpack_from("<I", data, place)
    except struct.error:
        if len(data) < head or head > 2**24:  # nothing more to read, or no name is that long
            raise
        return _read_record(descriptor, at, 16 * head)
    if count < 2:
        raise ValueError
    name, rsid, chrom = names
    row = (chrom, rsid if rsid not in ("", ".") else name, pos, alleles[0], ",".join(alleles[1:]))
    return row, at + place + 4, length
