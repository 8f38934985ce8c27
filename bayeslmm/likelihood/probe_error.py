"""The error of random probes: what an error in the counts of eigenvalues does to posteriors."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.one_trait import UnitScale, at_unit_scale, log_reml, rescale
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import whitened

_POINTS = 200
_END = 1e-6  # h2 from 0 and 1
_ROWS = 512  # arrays of one length are compiled once
_FAR = 25.0  # below exp(-25) of its peak a density counts as 0


class ProbeError(NamedTuple):
    """The Monte Carlo error of random probes in the posterior mean of h2, in its posterior standard deviations.

    Attributes:
        found: what it is.
        wanted: what was asked for.
        passes: products with K.
        parameter: another number whose posterior mean has the error, in its own standard deviations.
    """

    found: float
    wanted: float
    passes: int
    parameter: str = "h2"

    @property
    def reached(self) -> bool:
        """Whether it is as small as was asked for."""
        return self.found <= self.wanted

    def words(self) -> str:
        """Say how large it is."""
        of_wanted = f"{self.wanted:g} was asked for" if self.reached else f"NOT the {self.wanted:g} that was asked for"
        size = f"{self.size} posterior sd of {self.parameter}"
        return f"Monte Carlo error of {self.passes} products with K: {size} ({of_wanted})"

    @property
    def size(self) -> str:
        """The error as text; rounding is no error of the probes."""
        return f"{self.found:.2g}" if self.found >= 1e-4 else "below 0.0001"


class Moved(NamedTuple):
    """Posterior means of h2 with other counts.

    Attributes:
        mean, sd: with the counts of the data.
        means: with each of the others, shape (r,).
    """

    mean: float
    sd: float
    means: Float64[ndarray, " r"]


class ProbeErrors(NamedTuple):
    """Standard errors of some numbers that come of random probes.

    Attributes:
        of_probes: of those that begin a space, shape (t,).
        of_singles: of those of a single product, shape (t,).
    """

    of_probes: Float64[ndarray, " t"]
    of_singles: Float64[ndarray, " t"]

    @property
    def total(self) -> Float64[ndarray, " t"]:
        """Of both."""
        return np.hypot(self.of_probes, self.of_singles)


def errors_of(shifts: Float64[ndarray, "t r"], *, probes: int) -> ProbeErrors:
    """Return the errors of numbers, of which it is known how far other counts move them.

    Args:
        shifts: of each number with the counts of `SpectralSummary.others`.
        probes: of each space.

    Source: Efron and Stein (1981), doi:10.1214/aos/1176345462 (the jackknife).
    """
    left_out = shifts[:, :-1].reshape(len(shifts), -1, probes)
    left_out = left_out - left_out.mean(axis=2, keepdims=True)
    jackknife = np.sqrt((probes - 1) / probes * np.square(left_out).sum(axis=(1, 2)))
    # Three coefficients are fitted to each set of probes; and the error is itself estimated, and looked at until it is
    # small: one standard error is added.
    of_probes = jackknife * np.sqrt(probes / (probes - 3)) * (1 + 1 / np.sqrt(2 * left_out[0].size))
    return ProbeErrors(of_probes, np.abs(shifts[:, -1]))


@in_float64
def moved(data: RotatedData, others: Float64[ndarray, "r n"]) -> Moved:
    """Return what the posterior mean of h2 is with other counts; h2 is that where K has a mean diagonal of 1.

    The prior of h2 is flat, and the total variance is at its best for each h2.

    Args:
        data: one trait, with counts.
        others: the other counts.
    """
    white = whitened(data)
    rows, k = white.data, white.data.n - white.data.X.shape[1]
    ones = np.ones(len(rows.s)) if rows.counts is None else rows.counts
    pad = -len(rows.s) % _ROWS
    padded = rows._replace(
        s=np.pad(rows.s, (0, pad)),
        Y=np.pad(rows.Y, ((0, pad), (0, 0))),
        X=np.pad(rows.X, ((0, pad), (0, 0))),
        counts=np.pad(ones, (0, pad)),
    )

    def profile(h2: ndarray) -> ndarray:
        unit = UnitScale(*(np.asarray(part) for part in _unit(padded, h2)))
        return rescale(unit, k, unit.quad / k)

    h2 = np.linspace(_END, 1 - _END, _POINTS)
    for _ in range(2):  # each grid covers where the density of the one before it is not 0
        log_p = profile(h2)
        inside = np.flatnonzero(log_p > log_p.max() - _FAR)
        h2 = np.linspace(h2[max(inside[0] - 1, 0)], h2[min(inside[-1] + 1, _POINTS - 1)], _POINTS)
    log_p = profile(h2)
    log_d = np.log(h2[:, None] * rows.s + (1 - h2[:, None]))
    change = -log_d @ (others - ones).T / 2
    log_all = np.column_stack([log_p, log_p[:, None] + change])
    p = np.exp(log_all - log_all.max(axis=0))
    p /= p.sum(axis=0)
    means = h2 @ p
    return Moved(float(means[0]), float(np.sqrt(p[:, 0] @ (h2 - means[0]) ** 2)), means[1:])


@jax.jit
def _unit(data: RotatedData, h2: jax.Array) -> UnitScale:
    return jax.lax.map(lambda share: at_unit_scale(log_reml, data, share, 1 - share), h2)
