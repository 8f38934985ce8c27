"""Chromosomes: which of them a kinship is made from, and where each is in the file."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted

# Without "chr": sex chromosomes of mammals and of birds, and the mitochondrion.
_SPECIAL = frozenset({"X", "Y", "XY", "PAR1", "PAR2", "Z", "W", "M", "MT"})
_UNPLACED = frozenset({"0", "UN"})
_PLINK_HUMAN = {"23": "X", "24": "Y", "25": "XY", "26": "MT"}


def chromosomes(variants: pd.DataFrame, *, where: str | Path) -> dict[str, range]:
    """Return the range of markers of each chromosome, in the order of the file.

    Raises:
        InputError: if the markers of one are not consecutive.
    """
    chrom = variants["chrom"].to_numpy()
    starts = np.flatnonzero(np.r_[True, chrom[1:] != chrom[:-1]])
    names = chrom[starts].tolist()
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"{where}: the markers of chromosome {examples(repeated, most=1)} must be consecutive: sort them (plink "
            "--make-bed)"
        )
    ends = [*starts[1:].tolist(), len(chrom)]
    return {name: range(start, end) for name, start, end in zip(names, starts.tolist(), ends, strict=True)}


def special_chromosomes(names: Sequence[str]) -> dict[str, str]:
    """Return which of the chromosomes of a file are not autosomes: name -> X, Y, XY, MT and so on, or "unplaced".

    Names decide (X, Y, XY, PAR1, PAR2, Z, W, M, MT, 0 and Un, with or without "chr", in any case). Numbers from 23 to
    26 are what PLINK writes for X, Y, XY and MT of humans, unless the file has a number above 26, as files of
    dogs, cattle or chickens do. All other names are of autosomes.
    """
    plain = {name: plain_name(name) for name in names}
    human = not any((_number(short) or 0) > 26 for short in plain.values())
    special: dict[str, str] = {}
    for name, whole in plain.items():
        short = whole.split("_")[0]  # X_random is a part of X
        if short in _UNPLACED:
            special[name] = "unplaced"
        elif short in _SPECIAL:
            special[name] = short
        elif human and short in _PLINK_HUMAN:
            special[name] = _PLINK_HUMAN[short]
    return special


def used_chromosomes(
    chrom: ndarray, chosen: Sequence[str] = (), *, where: str | Path
) -> tuple[Bool[ndarray, " p"], dict[str, int]]:
    """Return which markers a kinship is made from, and how many are on each chromosome that is left out.

    By default the autosomes are used. If all markers are unplaced, these are used.

    Args:
        chrom: chromosome of each marker, shape (p,).
        chosen: names ("X") and ranges of numbers ("1-22") to use instead, with or without "chr".
        where: the file, for messages.

    Raises:
        InputError: if a chosen one is not in the file.
    """
    counts = Counter(chrom.tolist())
    special = special_chromosomes(list(counts))
    used = _chosen(list(counts), chosen, where) if chosen else set(counts) - set(special)
    if not used:
        used = {name for name, kind in special.items() if kind == "unplaced"}
    left_out = {labelled(name, special): count for name, count in counts.items() if name not in used}
    return np.isin(chrom, list(used)), left_out


def labelled(name: str, special: Mapping[str, str]) -> str:
    """Return the name of a chromosome with its kind: ``23 (X)``."""
    kind = special.get(name, "")
    return name if kind in name.upper() else f"{name} ({kind})"


def left_out_words(left_out: Mapping[str, int]) -> str:
    """Say which chromosomes are left out of a kinship: ``50 on chromosome 23 (X)``; empty for none."""
    if not left_out:
        return ""
    names = ", ".join(left_out) if len(left_out) <= 6 else examples(left_out)
    return f"{sum(left_out.values()):,} on chromosome{'s' if len(left_out) > 1 else ''} {names}"


def _chosen(names: list[str], chosen: Sequence[str], where: str | Path) -> set[str]:
    plain = {name: plain_name(name) for name in names}
    used: set[str] = set()
    for wanted in (part for text in chosen for part in text.split(",") if part):
        span = re.fullmatch(r"(?:chr)?(\d{1,9})-(\d{1,9})", wanted, flags=re.IGNORECASE)
        least, most = map(int, span.groups()) if span else (1, 0)
        matches = {
            name
            for name, short in plain.items()
            if short == plain_name(wanted) or ((number := _number(short)) is not None and least <= number <= most)
        }
        if not matches:
            raise InputError(
                f"{where} has no chromosome {quoted(wanted)}; it has {examples(names, most=30)}: choose among these, "
                "or a range such as 1-22"
            )
        used |= matches
    return used


def plain_name(name: str) -> str:
    """Return the name of a chromosome in capitals, without "chr" and leading zeros."""
    short = re.sub(r"^CHR(OMOSOME)?(?=.)", "", name.upper())
    return short if (number := _number(short)) is None else str(number)


def _number(name: str) -> int | None:
    return int(name) if re.fullmatch("[0-9]{1,9}", name) else None
