"""Ids of individuals: in files without data columns, and ids that nearly match."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from bayeslmm.base.checks import InputError, check_unique, examples, quoted
from bayeslmm.base.files import read_lines


def near_matches(unknown: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return the unknown ids that differ from a known one only in case, leading zeros or a final ``.0``."""
    unknown = list(unknown)
    if not unknown:
        return {}
    alike = {_simplified(name): name for name in known}
    return {name: alike[key] for name in unknown if (key := _simplified(name)) in alike}


def spelled_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of different names that are near matches, as in `near_matches`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_simplified(name)].append(name)
    return [(group[0], other) for group in groups.values() for other in group[1:]]


def near_words(near: dict[str, str]) -> str:
    """Say which ids nearly match: ``811.0 for 811``."""
    return examples(f"{examples([name])} for {examples([other])}" for name, other in near.items())


def _simplified(name: str) -> str:
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", re.sub(r"(?<=[0-9])\.0*$", "", name.casefold()))


class Individuals(NamedTuple):
    """Individuals of a file without columns of data.

    Attributes:
        families: FID of each, shape (n,); 0 where the file has none.
        ids: IID of each, shape (n,).
    """

    families: tuple[str, ...]
    ids: tuple[str, ...]


def read_fam(path: str | Path) -> Individuals:
    """Read a PLINK ``.fam``: six columns, or more where GEMMA's further phenotypes follow.

    Raises:
        InputError: no individual, fewer columns, lines of different widths, or repeated IIDs.
    """
    lines = _fields(path)
    for number, fields in lines:
        if len(fields) < 6:
            raise InputError(
                f"{path} line {number}: a .fam has six columns (FID IID father mother sex phenotype), but "
                f"{len(fields)} were found: write it with plink"
            )
    return _individuals(path, lines)


def read_ids(path: str | Path) -> Individuals:
    """Read the ids beside a kinship matrix: a ``.fam``, GCTA's ``.grm.id`` (FID IID), or IIDs alone.

    A first line ``#FID IID`` or ``#IID``, which plink2 writes, is a header.

    Raises:
        InputError: no individual, lines of different widths, or repeated IIDs.
    """
    return _individuals(path, _fields(path))


def _fields(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return (line, fields) of the lines of a table without a header that are not blank; all have the same width."""
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    if lines and lines[0][1][0] in ("#FID", "#IID"):
        del lines[0]
    if not lines:
        raise InputError(f"{path} holds no individual: write it with the program that wrote the files beside it")
    width = len(lines[0][1])
    for number, fields in lines:
        if len(fields) != width:
            raise InputError(
                f"{path} line {number}: {width} columns were expected, as in the first line, but {len(fields)} were "
                f"found ({quoted(' '.join(fields[:9]))}): ids must not contain blanks"
            )
    return lines


def _individuals(path: str | Path, lines: list[tuple[int, list[str]]]) -> Individuals:
    ids = tuple(fields[0] if len(fields) == 1 else fields[1] for _, fields in lines)
    check_unique(ids, where=path)
    return Individuals(tuple("0" if len(fields) == 1 else fields[0] for _, fields in lines), ids)
