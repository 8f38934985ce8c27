"""Traces of powers of MKM, the kinship that is left once X is projected out: all that moments need to know of K."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError


class Traces(NamedTuple):
    """Traces of (MKM)^k for k = 0 (that of M, n - c), 1, 2, 3, 4."""

    t0: float
    t1: float
    t2: float
    t3: float
    t4: float


def rotated_traces(
    s: Float64[ndarray, " n"], Q: Float64[ndarray, "n c"], counts: Float64[ndarray, " n"] | None = None
) -> Traces:
    """Return the traces from the eigenvalues of K and an orthonormal basis of X: words of S and QQ', counted.

    Args:
        s: eigenvalues.
        Q: the basis, rotated.
        counts: how many there are of each eigenvalue, by default one.
    """
    count = np.ones(len(s)) if counts is None else counts
    s1, s2, s3, s4 = (float(count @ s**k) for k in (1, 2, 3, 4))
    A1, A2, A3, A4 = (Q.T @ (s[:, None] ** k * Q) for k in (1, 2, 3, 4))
    tr = np.trace
    return Traces(
        t0=round(float(count.sum())) - float(Q.shape[1]),
        t1=s1 - float(tr(A1)),
        t2=s2 + float(-2 * tr(A2) + tr(A1 @ A1)),
        t3=s3 + float(-3 * tr(A3) + 3 * tr(A2 @ A1) - tr(A1 @ A1 @ A1)),
        t4=s4
        + float(-4 * tr(A4) + 4 * tr(A3 @ A1) + 2 * tr(A2 @ A2) - 4 * tr(A2 @ A1 @ A1))
        + float(tr(A1 @ A1 @ A1 @ A1)),
    )


def check_identified(t: Traces) -> None:
    """Refuse a K that is a multiple of the identity once X is projected out: h2 then makes no difference to the data.

    Raises:
        InputError: if the eigenvalues, whose mean is t1 / t0 and mean square t2 / t0, do not vary.
    """
    if t.t2 * t.t0 - t.t1**2 <= 1e-10 * t.t2 * t.t0:
        raise InputError(
            "given the covariates, the individuals analysed are all equally related, so sigma2_u and sigma2_e are not "
            "identified: a heritability needs some who are more related than others"
        )
