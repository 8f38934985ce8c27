"""Which individuals and markers are used: those that files name, and those of autosomes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import read_lines

if TYPE_CHECKING:  # the command line shows its options without these
    import pandas as pd
    from jaxtyping import Int64
    from numpy import ndarray


class Chosen(NamedTuple):
    """Which of some individuals or markers are used, in ascending order, and what is said about it."""

    places: "Int64[ndarray, ' k']"
    said: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """What is used of genotypes or of a kinship.

    Attributes:
        keep: file of the only individuals used: IID, or FID and IID, on each line; a header begins with #FID or #IID.
        remove: file of individuals that are not used.
        extract: file of the only markers used: an id on each line.
        exclude: file of markers that are not used.
        autosomes: use no other markers.
    """

    keep: str | Path | None = None
    remove: str | Path | None = None
    extract: str | Path | None = None
    exclude: str | Path | None = None
    autosomes: bool = False

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [Path(file) for file in (self.keep, self.remove, self.extract, self.exclude) if file]

    @property
    def of_markers(self) -> list[str]:
        """Which of its options choose markers."""
        return [field.name for field in fields(self)[2:] if getattr(self, field.name)]

    def individuals(self, ids: Sequence[str], *, where: str | Path) -> Chosen:
        """Choose among individuals, whom their IID identifies, or FID and IID together.

        Raises:
            InputError: for a file that names none of them, or if nobody is left.
        """
        return _chosen("individuals", ids, {"keep": self.keep, "remove": self.remove}, where)

    def markers(self, variants: "pd.DataFrame", *, where: str | Path) -> Chosen:
        """Choose among markers, all of those with an id that is repeated.

        Raises:
            InputError: for a file that names none of them, or if none is left.
        """
        import numpy as np

        from bayeslmm.genotypes.chromosomes import special_chromosomes

        places, said = _chosen("markers", variants["snp"], {"extract": self.extract, "exclude": self.exclude}, where)
        if not self.autosomes:
            return Chosen(places, said)
        chrom = variants["chrom"].to_numpy()
        others = np.isin(chrom[places], list(special_chromosomes(list(dict.fromkeys(chrom)))))
        if others.all():
            raise InputError(f"{where}: no marker that is chosen is on an autosome")
        said += (f"autosomes: {int(others.sum()):,} markers on other chromosomes are left out",)
        return Chosen(places[~others], said)


EVERYTHING = Selection()


def _chosen(
    what: str, names: "Sequence[str] | pd.Series", files: "dict[str, str | Path | None]", where: str | Path
) -> Chosen:
    """Apply a file of what is used, then one of what is not."""
    import numpy as np
    import pandas as pd

    known = pd.Index(names)
    use = np.ones(len(known), dtype=bool)
    said: list[str] = []
    for (option, file), wanted in zip(files.items(), (True, False), strict=True):
        if file is None:
            continue
        listed = _listed(file, known, individuals=what == "individuals")
        unknown = [name for name in listed if name not in known]
        if len(unknown) == len(listed):
            raise InputError(
                f"{option} {file}: none of its {len(listed):,} {what} ({examples(listed)}) is in {where} (such as "
                f"{examples(known[:3])}): check that both use the same ids"
            )
        use &= known.isin(listed) == wanted
        text = f"{option} {file}: {int(use.sum()):,} of {len(known):,} {what} of {where} are left"
        if unknown:
            text += f"; {len(unknown):,} of its {len(listed):,} are not there ({examples(unknown)})"
        said.append(text)
    if not use.any():
        raise InputError(f"{where}: none of {len(known):,} {what} is left after {' and '.join(filter(None, files))}")
    return Chosen(np.flatnonzero(use), tuple(said))


def _listed(path: str | Path, known: "pd.Index", *, individuals: bool) -> list[str]:
    """Return the ids of a file, each once; FID and IID of individuals that are known by both.

    Raises:
        InputError: if it is empty, or lines of markers hold more than an id.
    """
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    header = lines[0][1] if lines and lines[0][1][0].lstrip("#") in ("FID", "IID") else []
    if individuals:
        # FID and IID, unless a header says that IID comes first.
        first = header[:1] in (["#IID"], ["IID"])
        data = [fields for _, fields in lines[len(header) > 0 :]]
        both = [" ".join(fields[:2]) for fields in data]
        iids = [fields[0 if first or len(fields) == 1 else 1] for fields in data]
        ids = [pair if pair in known else iid for pair, iid in zip(both, iids, strict=True)]
    else:
        if wide := next(((number, fields) for number, fields in lines if len(fields) > 1), None):
            raise InputError(
                f"{path} line {wide[0]}: one id of a marker is expected, but {len(wide[1])} words were found"
            )
        ids = [fields[0] for _, fields in lines]
    if not ids:
        raise InputError(f"{path} is empty: an id on each line is expected")
    return list(dict.fromkeys(ids))
