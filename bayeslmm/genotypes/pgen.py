"""PLINK 2 genotypes: a ``.pgen`` with its ``.pvar`` or ``.pvar.zst`` and ``.psam``, read by pgenlib."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, quoted
from bayeslmm.base.extras import optional
from bayeslmm.base.files import open_text, read_lines, reading
from bayeslmm.base.ids import Individuals, individuals_of, read_fam
from bayeslmm.genotypes.variants import MarkerTable, as_positions, markers_of

_NAMES = {"#CHROM": "chrom", "ID": "snp", "POS": "pos", "ALT": "a1", "REF": "a0"}
_WITHOUT_HEADER = {5: ["chrom", "snp", "pos", "a1", "a0"], 6: ["chrom", "snp", "cm", "pos", "a1", "a0"]}
_MISSING = -9.0  # of pgenlib


@dataclass(frozen=True)
class Pgen:
    """A PLINK 2 fileset, opened but not read; a `Source`, made by `open_pgen`."""

    path: Path
    ids: tuple[str, ...]
    families: tuple[str, ...]
    markers: MarkerTable

    @property
    def variants(self) -> pd.DataFrame:
        """One row for each marker, as `Source.variants`."""
        return self.markers.variants

    @contextmanager
    def reader(self) -> Iterator["PgenReader"]:
        """Open the ``.pgen`` for reading.

        Raises:
            InputError: if it has another number of individuals or records, or is damaged.
        """
        pgenlib = optional("pgenlib", extra="pgen", what=str(self.path))
        record = self.markers.record
        records = int(record[-1]) + 1
        # Alleles before each record, the reference among them: pgenlib must know it where there are more than two.
        alleles = np.concatenate([[0], np.cumsum(1 + np.bincount(record))]).astype(np.uintp)
        try:
            with reading(self.path):
                file = pgenlib.PgenReader(
                    bytes(self.path),
                    raw_sample_ct=len(self.ids),
                    variant_ct=records,
                    allele_idx_offsets=alleles if alleles[-1] > 2 * records else None,
                )
        except RuntimeError as error:
            raise InputError(f"{self.path} cannot be read ({_said(error)}): give the files of one run") from None
        try:
            yield PgenReader(self.path, len(self.ids), self.markers, file)
        finally:
            file.close()


@dataclass(frozen=True)
class PgenReader:
    """An open ``.pgen``; a `Reader`."""

    path: Path
    n: int
    markers: MarkerTable
    file: Any

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`.

        Raises:
            InputError: for a file that is damaged or has become shorter.
        """
        lines = np.asarray(lines, dtype=np.int64)
        record, allele = self.markers.record[lines].astype(np.uint32), self.markers.allele[lines]
        G = np.empty((len(lines), self.n), dtype=np.float32)
        try:
            for k in np.unique(allele):
                own = np.flatnonzero(allele == k)
                part = G if len(own) == len(G) else np.empty((len(own), self.n), dtype=np.float32)
                self.file.read_dosages_list(record[own], part, k)
                if part is not G:
                    G[own] = part
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self.path} is damaged or cut off ({_said(error)}): copy it again") from None
        G[G == _MISSING] = np.nan
        return (G if rows is None else np.take(G, rows, axis=1)).astype(dtype, copy=False).T


def open_pgen(pgen: Path, pvar: Path, psam: Path) -> Pgen:
    """Open the three files of a fileset and check that they belong together.

    Raises:
        InputError: a missing or damaged file, files of different runs, or pgenlib is not installed.
    """
    for path in (pgen, pvar, psam):
        check_readable(path)
    individuals = read_psam(psam)
    source = Pgen(pgen, individuals.ids, individuals.families, markers_of(read_pvar(pvar)))
    with source.reader():  # which checks the sizes
        return source


def read_psam(path: str | Path) -> Individuals:
    """Read a PLINK 2 ``.psam``; without its header ``#FID`` or ``#IID`` it is a ``.fam``.

    Raises:
        InputError: no individual, no IID, lines of different widths, or individuals that repeat.
    """
    lines = [
        (number, fields)
        for number, line in enumerate(read_lines(path), start=1)
        if (fields := line.split()) and not line.startswith("##")
    ]
    if not lines or not lines[0][1][0].startswith("#"):
        return read_fam(path)
    header = [name.removeprefix("#") for name in lines[0][1]]
    if "IID" not in header:
        raise InputError(f"{path} line {lines[0][0]}: a .psam has a column IID: write it with plink2")
    for number, fields in lines:
        if len(fields) != len(header):
            raise InputError(
                f"{path} line {number}: {len(header)} columns were expected, as in the header, but {len(fields)} "
                "were found"
            )
    if len(lines) == 1:
        raise InputError(f"{path} holds no individual: write it with plink2")
    columns = dict(zip(header, zip(*(fields for _, fields in lines[1:]), strict=True), strict=True))
    iids = columns["IID"]
    return individuals_of(columns.get("FID", ("0",) * len(iids)), iids, where=path)


def read_pvar(path: str | Path) -> pd.DataFrame:
    """Read a PLINK 2 ``.pvar`` or ``.pvar.zst``: chrom, snp, pos, a0, and a1 with commas between alternate alleles.

    Raises:
        InputError: no marker, columns that are missing, or positions that are not whole numbers.
    """
    skip, names = 0, []
    with open_text(path) as stream:
        for line in stream:
            if not line.startswith("##"):
                names = line.split()
                break
            skip += 1
    if names and names[0] == "#CHROM":
        skip += 1
    else:
        names = _WITHOUT_HEADER.get(len(names), [])
    names = [_NAMES.get(name, name) for name in names]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} line {skip}: the column {quoted(repeated[0])} occurs more than once")
    if absent := [name for name, own in _NAMES.items() if own not in names]:
        raise InputError(f"{path} line {skip or 1}: a .pvar has the column {absent[0]}: write it with plink2")
    try:
        with open_text(path) as stream:
            for _ in range(skip):
                next(stream)
            table = pd.read_csv(
                stream,
                sep=r"\s+",
                header=None,
                names=names,
                usecols=list(_NAMES.values()),
                dtype=str,
                keep_default_na=False,
                quoting=csv.QUOTE_NONE,
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, StopIteration) as error:
        raise InputError(f"{path} cannot be read as a table ({str(error).strip()}): write it with plink2") from None
    if table.empty:
        raise InputError(f"{path} has no marker: write it with plink2")
    short = (table.isna() | (table == "")).any(axis=1).to_numpy()
    if short.any():
        raise InputError(
            f"{path} line {int(short.argmax()) + skip + 1}: {len(names)} columns were expected, but there are fewer"
        )
    return table.assign(pos=as_positions(table["pos"], table["snp"], where=path, first_line=skip + 1))


def _said(error: Exception) -> str:
    """Return what pgenlib says, some of it as bytes."""
    text = error.args[0] if error.args else ""
    return (text.decode(errors="replace") if isinstance(text, bytes) else str(text)).strip().rstrip(".")
