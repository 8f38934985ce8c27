"""Kinships of GCTA: ``.grm.bin``, ``.grm.gz`` and ``.grm.sp``, with ``.grm.id``."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable
from bayeslmm.base.files import reading, replacing
from bayeslmm.base.ids import Individuals, plain_iids, read_ids
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.names import grm_files
from bayeslmm.kinship.numbers import check_kinship_memory, numeric_frame
from bayeslmm.kinship.pair_lists import Pairs, numbered_pairs
from bayeslmm.kinship.triangles import triangle


def grm_paths(out: str | Path) -> list[Path]:
    """Return the files of a GCTA kinship matrix: ``out.grm.bin``, ``out.grm.N.bin`` and ``out.grm.id``."""
    return [Path(f"{out}.grm.{suffix}") for suffix in ("bin", "N.bin", "id")]


def write_grm(kinship: Kinship, out: str | Path) -> list[Path]:
    """Write ``out.grm.bin``, ``out.grm.N.bin`` and ``out.grm.id`` in GCTA's format; return their paths.

    The lower triangle row by row in float32; N is the number of markers used, the same for every pair, since
    missing genotypes are imputed. FID is written as the IID where it is not known.

    Raises:
        InputError: if the folder cannot be written.
    """
    n = len(kinship.ids)
    n_markers = kinship.details.get("markers", {}).get("kept", 0)
    paths = grm_paths(out)
    with replacing(paths[0]) as values, replacing(paths[1]) as counts, replacing(paths[2]) as ids:
        with values.open("wb") as value_stream, counts.open("wb") as count_stream:
            for i in range(n):
                value_stream.write(kinship.K[i, : i + 1].astype("<f4").tobytes())
                count_stream.write(np.full(i + 1, n_markers, dtype="<f4").tobytes())
        ids.write_text(id_lines(kinship))
    return paths


def id_lines(kinship: Kinship) -> str:
    """Return FID and IID of each individual as the lines of a ``.grm.id``."""
    iids = plain_iids(Individuals(kinship.families, kinship.ids))
    return "".join(f"{family}\t{iid}\n" for family, iid in zip(kinship.families or iids, iids, strict=True))


def read_grm(prefix: str | Path) -> Kinship:
    """Read a kinship of GCTA: ``prefix.grm.bin``, ``.grm.gz`` or ``.grm.sp``, with ``prefix.grm.id``.

    The sparse ``.grm.sp`` becomes a dense matrix, 0 for the pairs that it leaves out.

    Args:
        prefix: or the whole name of one of the files.

    Raises:
        InputError: a missing file, a size that does not fit the number of ids, or pairs that are missing or none.
    """
    path, id_path = grm_files(prefix)
    values, individuals = check_readable(path), read_ids(id_path)
    n = len(individuals.ids)
    check_kinship_memory(10.0 * n**2, n, path)
    if path.suffix == ".bin":
        K, words = triangle(_float32(values, n), n), "GCTA's matrix in float32"
    else:
        pairs, words = listed_pairs(path, individuals.ids)
        K = pairs.dense()
    return Kinship(individuals.ids, K, str(values), {"read_as": words}, individuals.families)


def check_size(values: Path, n: int) -> None:
    """Refuse a ``.grm.bin`` that cannot be of n individuals.

    Raises:
        InputError: with both numbers of values.
    """
    found = values.stat().st_size
    if found != 2 * n * (n + 1):
        odd = f" and {found % 4} bytes" if found % 4 else ""
        raise InputError(
            f"{values}: {n} ids need {n * (n + 1) // 2} float32 values, but {found // 4}{odd} were found: the file is "
            "truncated, too long or belongs to another .grm.id"
        )


def _float32(values: Path, n: int) -> ndarray:
    check_size(values, n)
    with reading(values):
        lower = np.fromfile(values, dtype="<f4", count=n * (n + 1) // 2)
    if lower.size != n * (n + 1) // 2:
        raise InputError(f"{values} has changed while it was read: begin again")
    return lower


def listed_pairs(path: Path, ids: tuple[str, ...]) -> tuple[Pairs, str]:
    """Return the pairs of a list of GCTA, and what it was read as.

    Raises:
        InputError: pairs that are missing or none.
    """
    sparse = path.suffix == ".sp"
    frame = numeric_frame(path, None, skip=0, ids=0)
    width = 3 if sparse else 4
    if frame.shape[1] != width:
        raise InputError(
            f"{path}: {width} columns were expected (two numbers of individuals, {'' if sparse else 'of markers, '}"
            f"relationship), but {frame.shape[1]} were found: write it again with gcta"
        )
    pairs = numbered_pairs(frame, ids, base=0 if sparse else 1, path=path)
    if sparse:
        return pairs, f"GCTA's sparse matrix: {pairs.absent:,} pairs that it leaves out have the relationship 0"
    if pairs.absent:
        raise InputError(
            f"{path}: {len(ids)} ids need {len(ids) * (len(ids) + 1) // 2} pairs, but {pairs.absent} are missing: it "
            "is cut off, or belongs to another .grm.id"
        )
    return pairs, "GCTA's matrix in text"
