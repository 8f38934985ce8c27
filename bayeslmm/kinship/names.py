"""Which files hold a kinship, found by their names alone."""

from pathlib import Path

_GCTA = ("bin", "gz", "sp")


def grm_files(name: str | Path) -> tuple[Path, Path]:
    """Return the values and the ids of a kinship of GCTA.

    Args:
        name: ``X`` of ``X.grm.bin``, ``X.grm.gz`` or ``X.grm.sp`` (the first of these that exists), or the whole name
            of one of them.
    """
    prefix, kinds = str(name), _GCTA
    if not any(Path(f"{prefix}.grm.{kind}").exists() for kind in _GCTA):
        stem, _, kind = prefix.rpartition(".grm")
        if stem and kind[1:] in ("", "id", *_GCTA):
            prefix, kinds = stem, (kind[1:],) if kind[1:] in _GCTA else _GCTA
    found = [path for kind in kinds if (path := Path(f"{prefix}.grm.{kind}")).exists()]
    return (found[0] if found else Path(f"{prefix}.grm.{kinds[0]}")), Path(f"{prefix}.grm.id")


def is_grm(path: str | Path) -> bool:
    """Return whether a file is named as GCTA names the values of a kinship."""
    return str(path).endswith(tuple(f".grm.{kind}" for kind in _GCTA))


def ids_beside(path: str | Path) -> Path | None:
    """Return the file with the ids of a matrix that holds numbers only, as plink names it, if it exists.

    ``X.rel.id`` belongs to ``X.rel``, ``X.rel.bin``, ``X.rel.gz`` and ``X.rel.zst``; for any other matrix it is its
    name with ``.id``.
    """
    names = [f"{path}.id", *(f"{str(path).removesuffix(end)}.id" for end in (".bin", ".gz", ".zst", ".npy", ".txt"))]
    return next((Path(name) for name in names if Path(name).exists()), None)


def kinship_files(path: str | Path, fam: str | Path | None) -> list[Path]:
    """Return what `read_kinship` reads."""
    if is_grm(path):
        return list(grm_files(path))
    ids = fam or ids_beside(path)
    return [Path(path), *([Path(ids)] if ids else [])]
