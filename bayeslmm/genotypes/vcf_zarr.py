"""VCF-Zarr genotypes, as bio2zarr writes them, read by zarr a chunk of markers at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique
from bayeslmm.base.extras import optional
from bayeslmm.genotypes.calls import check_calls, dosages_of
from bayeslmm.genotypes.variants import MarkerTable, markers_of
from bayeslmm.genotypes.vcf import field_of, warn_of_half_calls

_FIELDS = {"GT": "call_genotype", "DS": "call_DS"}


@dataclass(frozen=True)
class VcfZarr:
    """A VCF-Zarr store, opened but not read; a `Source`, made by `open_vcf_zarr`.

    Attributes:
        path: of the store.
        ids: of the samples.
        markers: one for each alternate allele.
        arrays: of calls and of dosages that are read, by their field.
        alternates: how many alternate alleles a record has at most.
        said: the warnings that were given, so that each is given once.
    """

    path: Path
    ids: tuple[str, ...]
    markers: MarkerTable
    arrays: dict[str, Any]
    alternates: int
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
    def reader(self) -> Iterator["VcfZarrReader"]:
        """Open the store for reading; warn of half calls at the end."""
        reader = VcfZarrReader(self)
        yield reader
        warn_of_half_calls(self.path, reader.half_calls, self.said)


class VcfZarrReader:
    """A store that is read by chunks of markers, of which the last one is kept; a `Reader`.

    Attributes:
        half_calls: how many were read.
    """

    def __init__(self, source: VcfZarr) -> None:
        self.half_calls = 0
        self._source = source
        self._chunk = -1
        self._read: dict[str, ndarray] = {}
        self._size = int(next(iter(source.arrays.values())).chunks[0])

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`.

        Raises:
            InputError: for chunks that are damaged.
        """
        lines = np.asarray(lines, dtype=np.int64)
        record, allele = self._source.markers.record[lines], self._source.markers.allele[lines]
        n = len(self._source.ids)
        G = np.empty((len(lines), n if rows is None else len(rows)), dtype=dtype)
        chunks = record // self._size
        for chunk in np.unique(chunks):
            own = np.flatnonzero(chunks == chunk)
            within = record[own] - chunk * self._size
            parts = self._of_chunk(int(chunk))
            # A view where all of a chunk is read, in its order.
            everything = len(within) == len(next(iter(parts.values()))) and (np.diff(within) == 1).all()
            here = {name: part if everything else part[within] for name, part in parts.items()}
            if "DS" in here:
                here["DS"] = self._widened(here["DS"], allele[own], record[own])
            whole, half_calls = dosages_of(allele[own], here.get("GT"), here.get("DS"))
            self.half_calls += half_calls
            G[own] = whole if rows is None else whole[:, rows]
        return G.T

    def _widened(self, D: ndarray, allele: ndarray, record: ndarray) -> ndarray:
        """Return dosages with a column for each alternate allele: records of many may have none at all.

        Raises:
            InputError: for a record with fewer dosages than alternate alleles.
        """
        beyond = np.flatnonzero(allele > D.shape[2])
        for k in beyond:
            if not np.isnan(D[k]).all():
                raise InputError(
                    f"{self._source.path} record {record[k] + 1}: DS has fewer values than there are alternate alleles"
                )
        more = self._source.alternates - D.shape[2] if beyond.size else 0
        return np.pad(D, ((0, 0), (0, 0), (0, more)), constant_values=np.nan)

    def _of_chunk(self, chunk: int) -> dict[str, ndarray]:
        if chunk != self._chunk:
            span = slice(chunk * self._size, (chunk + 1) * self._size)
            try:
                self._read = {name: array[span] for name, array in self._source.arrays.items()}
            except Exception as error:  # of zarr, of its codecs, of the disk
                raise InputError(
                    f"{self._source.path} cannot be read at record {span.start + 1} ({error}): copy it again"
                ) from None
            if "DS" in self._read and self._read["DS"].ndim == 2:
                self._read["DS"] = self._read["DS"][..., None]
            where = f"{self._source.path}, records from {span.start + 1}"
            check_calls(self._read.get("GT"), self._read.get("DS"), alternates=self._source.alternates, where=where)
            self._chunk = chunk
        return self._read


def open_vcf_zarr(path: Path, *, dosage: str | None = None) -> VcfZarr:
    """Open a VCF-Zarr store, and read its samples and the names of its markers.

    Args:
        path: of the folder, or of a zip file of it.
        dosage: "GT", the default, for calls; "DS" for dosages, and calls where a marker or individual has none.

    Raises:
        InputError: for a store that is none, damaged, without samples or markers, or without the field; or zarr is not
            installed.
    """
    zarr = optional("zarr", extra="vcz", what=str(path))
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name and the folder")
    try:
        # Absolute, for processes that it is sent to.
        at = path.absolute()
        store = zarr.storage.ZipStore(at, mode="r") if path.is_file() else str(at)
        group = zarr.open_group(store, mode="r")
        arrays = {name: group[own] for name, own in _FIELDS.items() if own in group}
        ids = tuple(_texts(group["sample_id"]).tolist())
        contigs = _texts(group["contig_id"])
        alleles = _texts(group["variant_allele"])
        chrom = contigs[group["variant_contig"][:]]
        pos = np.asarray(group["variant_position"][:]).astype(np.int64)
        names = _texts(group["variant_id"]) if "variant_id" in group else np.full(len(pos), ".", dtype=object)
    except Exception as error:  # of zarr, of its codecs, of the disk
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} must be a VCF-Zarr store, as bio2zarr writes it ({what}): write it again") from None
    if not ids or not len(pos):
        raise InputError(f"{path} has {len(pos)} markers of {len(ids)} samples: nothing can be read from it")
    check_unique(ids, where=path)
    wanted = field_of(path, dosage, list(arrays))
    if wanted == "GT":
        arrays.pop("DS", None)
    _check_shapes(path, arrays, len(pos), len(ids))
    alternates = [",".join(filter(None, others)) or "." for others in alleles[:, 1:].tolist()]
    table = pd.DataFrame({"chrom": chrom, "snp": names, "pos": pos, "a0": alleles[:, 0], "a1": alternates})
    return VcfZarr(path, ids, markers_of(table), arrays, alleles.shape[1] - 1)


def _texts(array: Any) -> ndarray:
    return np.asarray(array[:]).astype(object)


def _check_shapes(path: Path, arrays: dict[str, Any], records: int, n: int) -> None:
    """Refuse arrays that do not belong together, or of more than two copies of a chromosome.

    Raises:
        InputError: with the shape.
    """
    for name, array in arrays.items():
        shape: tuple[int, ...] = tuple(array.shape)
        whole = shape in ((records, n, 1), (records, n, 2)) if name == "GT" else shape[:2] == (records, n)
        if not whole or len(shape) > 3:
            raise InputError(
                f"{path}: {_FIELDS[name]} has the shape {shape}, which does not fit {records} markers of {n} samples "
                "with at most two copies of a chromosome"
            )
