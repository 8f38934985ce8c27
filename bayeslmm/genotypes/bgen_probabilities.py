"""Probabilities of genotypes as BGEN 1.2 stores them (layout 2), and the expected number of copies of an allele.

Source: the specification of BGEN 1.2 and 1.3, https://www.chg.ox.ac.uk/~gav/bgen_format/spec/v1.2.html.
"""

import struct
import zlib
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Float64, Num
from numpy import ndarray

COMPRESSIONS = {0: "none", 1: "zlib", 2: "zstd"}
"""By their number in the header."""

_DIPLOID = b"\x02\x02"
_WHOLE_BYTES = {8: "<u1", 16: "<u2", 32: "<u4"}


class DamagedError(ValueError):
    """Bytes that are not probabilities, or of more than two copies of a chromosome; says what to do."""


def decompressed(packed: bytes, compression: str) -> bytes:
    """Return the bytes of the probabilities of a marker.

    Raises:
        DamagedError: if they are cut off, or cannot be decompressed.
    """
    if compression == "none":
        return packed
    try:
        (size,) = struct.unpack_from("<I", packed)
        if compression == "zlib":
            # No more than is said is decompressed: a damaged file may claim gigabytes.
            data = zlib.decompressobj().decompress(packed[4:], size + 1)
        else:
            import pyarrow as pa

            if size > 2**31:
                raise ValueError
            data = pa.decompress(packed[4:], decompressed_size=size, codec="zstd", asbytes=True)
    except (struct.error, zlib.error, OSError, ValueError):
        data, size = b"", 1
    if len(data) != size:
        raise DamagedError("its probabilities cannot be decompressed: copy the file again")
    return data


def dosage(data: bytes, n: int, allele: int) -> Float64[ndarray, " n"]:
    """Return the expected number of copies of an allele, NaN where it is missing, one copy of a chromosome twice.

    Args:
        data: the probabilities of a marker, decompressed.
        n: how many individuals there are.
        allele: which allele is counted, from 0.

    Raises:
        DamagedError: if the bytes contradict themselves or n, or an individual has no or more than two copies.
    """
    try:
        n_here, alleles, least, most = struct.unpack_from("<IHBB", data)
        phased, bits = struct.unpack_from("<BB", data, 8 + n)
    except struct.error:
        raise DamagedError("its probabilities are cut off: copy the file again") from None
    if n_here != n or not 2 <= alleles or allele >= alleles or not 1 <= bits <= 32 or phased > 1:
        raise DamagedError("its probabilities do not fit the file: copy it again")
    ploidy = np.frombuffer(data, dtype=np.uint8, count=n, offset=8)
    missing, copies = ploidy >= 0x80, ploidy & 0x3F
    if data[6:8] != _DIPLOID or (copies != 2).any():
        if not np.isin(copies, (1, 2)).all() or not 1 <= least <= most <= 2:
            raise DamagedError("an individual has no or more than two copies of the chromosome: leave it out")
    G = _expected(data, n, 10 + n, alleles, copies, bool(phased), bits, allele)
    G[missing] = np.nan
    return G


def _expected(
    data: bytes, n: int, start: int, alleles: int, copies: ndarray, phased: bool, bits: int, allele: int
) -> Float64[ndarray, " n"]:
    # The last of the probabilities that add up to one is not stored.
    stored = {
        1: alleles - 1,
        2: 2 * (alleles - 1) if phased else comb(alleles + 1, 2) - 1,
    }
    widths = np.where(copies == 2, stored[2], stored[1])
    values = _numbers(data, start, int(widths.sum()), bits)
    if (copies == 2).all():
        return _of_copies(values.reshape(n, stored[2]), 2, alleles, phased, bits, allele)
    G = np.empty(n)
    begins = np.cumsum(widths) - widths
    for z in (1, 2):
        own = np.flatnonzero(copies == z)
        of_these = values[begins[own, None] + np.arange(stored[z])]
        G[own] = _of_copies(of_these, z, alleles, phased, bits, allele)
    return G


def _of_copies(
    values: Num[ndarray, "m k"], copies: int, alleles: int, phased: bool, bits: int, allele: int
) -> Float64[ndarray, " m"]:
    """Return dosages of individuals with the same number of copies; ``values`` are probabilities times 2^bits - 1.

    Raises:
        DamagedError: for probabilities that add up to more than one.
    """
    weights, of_last = _weights(copies, alleles, phased, allele)
    top = 2.0**bits - 1
    sums = values.astype(np.float64) @ weights
    if (sums[:, 1:] > top).any():
        raise DamagedError("its probabilities add up to more than one: copy the file again")
    return of_last + sums[:, 0] / top


@lru_cache(maxsize=64)
def _weights(copies: int, alleles: int, phased: bool, allele: int) -> tuple[Float64[ndarray, "k columns"], float]:
    """Return what the stored probabilities are multiplied with, and the dosage if all of them are 0.

    The first column gives the rest of the dosage, each of the others the sum of the probabilities of one set: those of
    a genotype, or of one haplotype.
    """
    if phased or copies == 1:
        counts, sets = (np.arange(alleles) == allele).astype(float), copies
    else:
        # Genotypes in the order of the format: (0,0), (0,1), (1,1), (0,2), (1,2), (2,2), ...
        pairs = [(a, b) for b in range(alleles) for a in range(b + 1)]
        counts, sets = np.array([float((a == allele) + (b == allele)) for a, b in pairs]), 1
    counts *= 2 / copies
    rest = np.tile(counts[:-1] - counts[-1], sets)
    return np.column_stack([rest, np.kron(np.eye(sets), np.ones((len(counts) - 1, 1)))]), float(sets * counts[-1])


def _numbers(data: bytes, start: int, count: int, bits: int) -> Num[ndarray, " count"]:
    """Return unsigned integers of so many bits, the lowest first.

    Raises:
        DamagedError: if there are not as many.
    """
    if len(data) - start != (count * bits + 7) // 8:
        raise DamagedError("its probabilities have another length than they should: copy the file again")
    if bits in _WHOLE_BYTES:
        return np.frombuffer(data, dtype=_WHOLE_BYTES[bits], offset=start)
    each = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=start), count=count * bits, bitorder="little")
    return each.reshape(count, bits) @ 2.0 ** np.arange(bits)
