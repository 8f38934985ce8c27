"""Principal components of a kinship that only multiplies."""

import warnings

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.likelihood.krylov import BlockLanczos

_MORE = 10  # columns than components, so that the last ones are found as fast
_RESIDUAL = 1e-4  # of the largest eigenvalue


def principal_components(K: Covariance, k: int, *, seed: int, most_passes: int = 40) -> Float64[ndarray, "n k"]:
    """Return the k leading eigenvectors of K from products with it, leading first, each of length 1.

    Randomised block Krylov: of the space that products of random columns make, the best directions. Passes are made
    until what each is away from an eigenvector is below 1e-4 of the largest eigenvalue.

    Args:
        K: the kinship of the individuals.
        k: how many, at least 1 and below n.
        seed: of the random columns.
        most_passes: after which a warning says which are not yet found.

    Raises:
        InputError: if k is out of range.

    Source: Musco and Musco (2015), arXiv:1504.05477.
    """
    n = len(K.ids)
    if not 1 <= k < n:
        raise InputError(f"pcs must lie between 1 and {n - 1} for {n} individuals, but is {k}")
    space = BlockLanczos(np.random.default_rng(seed).standard_normal((n, min(k + _MORE, n))))
    while True:
        space.advance(K @ space.next)
        s, S = np.linalg.eigh(space.T)
        leading = S[:, ::-1][:, :k]
        away = np.linalg.norm(space.R @ leading[-space.V[-1].shape[1] :], axis=0) > _RESIDUAL * s[-1]
        if not away.any() or not space.next.shape[1]:
            break
        if len(space.V) == most_passes:
            warnings.warn(
                f"{K.source}: after {most_passes} passes {int(away.sum())} of {k} principal components are not found "
                "to four digits, as their eigenvalues are close to others: allow more passes (most_passes)",
                InputWarning,
                stacklevel=2,
            )
            break
    return space.vectors(leading)
