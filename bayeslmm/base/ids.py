"""Ids of individuals: in files without data columns, and ids that nearly match."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples, quoted
from bayeslmm.base.files import read_lines


def places(ids: Sequence[str], among: Sequence[str]) -> Int64[ndarray, " n"]:
    """Return the place of each id among others, counted from 0; -1 where it is not there."""
    place_of = {name: i for i, name in enumerate(among)}
    return np.array([place_of.get(name, -1) for name in ids], dtype=np.int64)


def known_places(ids: Sequence[str], among: Sequence[str], *, where: str | Path) -> Int64[ndarray, " n"]:
    """Return the place of each id among others, all of which must be there.

    Args:
        ids: whose places.
        among: ids without repetition.
        where: the others are, for messages.

    Raises:
        InputError: naming those who are not there.
    """
    found = places(ids, among)
    if (found < 0).any():
        absent = [name for name, place in zip(ids, found, strict=True) if place < 0]
        raise InputError(f"{where}: {len(absent)} of {len(ids)} individuals are not in it ({examples(absent)})")
    return found


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
    """Individuals of a file; made by `individuals_of`.

    Attributes:
        families: FID of each, shape (n,); 0 where it has none.
        ids: what identifies each, shape (n,): the IID or, if IIDs repeat in the file, FID and IID with a blank between.
    """

    families: tuple[str, ...]
    ids: tuple[str, ...]


def individuals_of(
    families: Sequence[str],
    iids: Sequence[str],
    *,
    where: str | Path,
    advice: str | None = None,
    repeated: bool = False,
) -> Individuals:
    """Return individuals by what identifies each: the IID, or FID and IID together where IIDs repeat.

    Args:
        families: FID of each, 0 for none.
        iids: IID of each.
        where: their file, for messages.
        advice: what to do about individuals that cannot be told apart.
        repeated: whether an individual may be there several times: IIDs repeat where different FIDs have them.

    Raises:
        InputError: naming them.
    """
    people = len(set(zip(families, iids, strict=True)))
    if len(set(iids)) == (people if repeated else len(iids)):
        return Individuals(tuple(families), tuple(iids))
    ids = tuple(f"{family} {iid}" for family, iid in zip(families, iids, strict=True))
    if people < len(ids) and not repeated:
        check_unique(iids, where=where, advice=advice or "remove or rename the extra ones, or give each its FID")
    return Individuals(tuple(families), ids)


def plain_iids(individuals: Individuals) -> tuple[str, ...]:
    """Return the IID of each individual, also where FID and IID identify them together."""
    if not _by_family(individuals):
        return individuals.ids
    pairs = zip(individuals.families, individuals.ids, strict=True)
    return tuple(name.removeprefix(f"{family} ") for family, name in pairs)


def in_common(
    one: Individuals, other: Individuals, *, where: tuple[str | Path, str | Path]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of the individuals of two files by which they are matched: by FID and IID if those of one are so.

    Args:
        one: of a file.
        other: of another.
        where: both files, for messages.

    Raises:
        InputError: if IIDs repeat in one file, and the other does not have FIDs.
    """
    ids = []
    for this, that, files in ((one, other, where), (other, one, where[::-1])):
        joined = _by_family(that) and not _by_family(this)
        if joined and not any(family != "0" for family in this.families):
            raise InputError(
                f"IIDs repeat in {files[1]}, so individuals are matched by FID and IID, but {files[0]} has no FID: "
                "add the FIDs"
            )
        pairs = zip(this.families, this.ids, strict=True) if joined else ()
        ids.append(tuple(f"{family} {iid}" for family, iid in pairs) if joined else this.ids)
    return ids[0], ids[1]


def _by_family(individuals: Individuals) -> bool:
    """Return whether FID and IID identify individuals together."""
    pairs = zip(individuals.families, individuals.ids, strict=False)
    return bool(individuals.families) and all(name.startswith(f"{family} ") for family, name in pairs)


def read_fam(path: str | Path) -> Individuals:
    """Read a PLINK ``.fam``: six columns, or more where GEMMA's further phenotypes follow.

    Raises:
        InputError: no individual, fewer columns, lines of different widths, or individuals that repeat.
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

    A first line ``#FID IID`` or ``#IID``, which plink2 writes, is a header, with or without its #.

    Raises:
        InputError: no individual, lines of different widths, or individuals that repeat.
    """
    return _individuals(path, _fields(path))


def _fields(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return (line, fields) of the lines of a table without a header that are not blank; all have the same width."""
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    if lines and (lines[0][1][0] in ("#FID", "#IID") or lines[0][1] in (["FID", "IID"], ["IID"])):
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
    alone = len(lines[0][1]) == 1
    families, iids = ["0" if alone else fields[0] for _, fields in lines], [fields[not alone] for _, fields in lines]
    return individuals_of(families, iids, where=path)
