"""Decompositions kept in a file, and read only if they are of the same individuals and the same K."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, examples
from bayeslmm.base.files import replacing
from bayeslmm.likelihood.rotation import Spectrum


def save_spectra(path: str | Path, spectra: Sequence[tuple[Sequence[str], Spectrum]]) -> None:
    """Write decompositions, each with the ids of its individuals, to one ``.npz`` file."""
    arrays: dict[str, ndarray] = {}
    for k, (ids, spectrum) in enumerate(spectra):
        arrays |= {f"ids{k}": np.array(ids, dtype=str), f"s{k}": spectrum.s, f"U{k}": spectrum.U}
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_spectrum(path: str | Path, ids: Sequence[str], K: Float[ndarray, "n n"]) -> Spectrum:
    """Read the decomposition of these individuals from a file of `save_spectra`.

    It is used only if it is an eigenbasis, and that of these individuals in this order and of this K. For a random z
    U'U z must be z, and U diag(s) U'z must be K z.

    Raises:
        InputError: not such a file, other individuals, or another K.
    """
    path = check_readable(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            sets = [archive[f"ids{k}"].tolist() for k in range(sum(name.startswith("ids") for name in archive))]
            k = sets.index(list(ids)) if list(ids) in sets else None
            s, U = (None, None) if k is None else (archive[f"s{k}"], archive[f"U{k}"])
    except Exception as error:  # whatever NumPy, zipfile and zlib make of bytes that are none of ours
        raise InputError(f"{path} is not a file of decompositions ({error}): name another file") from None
    if s is None or U is None:
        others = "; ".join(f"{len(stored)} individuals, first {examples(stored)}" for stored in sets)
        raise InputError(
            f"{path} does not belong to these {len(ids)} individuals (first {examples(ids)}): it holds {others}: "
            "name another file, or delete this one"
        )
    n = len(ids)
    damaged = f"{path} is damaged: name another file, or delete this one"
    if (s.shape, U.shape, s.dtype, U.dtype) != ((n,), (n, n), np.dtype(float), np.dtype(float)):
        raise InputError(f"{damaged} (eigenvalues {s.dtype} {s.shape} and eigenvectors {U.dtype} {U.shape} of {n} ids)")
    if not (np.isfinite(s).all() and np.isfinite(U).all()):
        raise InputError(f"{damaged} (not all of its numbers are finite)")
    if s[0] < 0 or (np.diff(s) < 0).any():
        raise InputError(f"{damaged} (its eigenvalues are not ascending from 0)")
    z = np.random.default_rng(0).standard_normal(n)
    turned = U.T @ z
    if np.linalg.norm(U @ turned - z) > 1e-8 * np.linalg.norm(z):
        raise InputError(f"{damaged} (its eigenvectors are not orthonormal)")
    spectrum, Kz = Spectrum(s, U), K @ z
    apart = U.T @ Kz - s * turned
    apart[(s == 0) & (apart * turned < 0)] = 0.0  # a negative eigenvalue, which `decompose` set to 0
    error = np.linalg.norm(apart) / np.linalg.norm(Kz)
    if error > 1e-5:
        raise InputError(
            f"{path} belongs to these individuals but not to this kinship matrix (relative difference {error:.2g}): "
            "name another file, or delete this one"
        )
    return spectrum
