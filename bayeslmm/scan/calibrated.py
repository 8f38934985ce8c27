r"""Tests of markers without an eigenbasis: V^-1 y by conjugate gradients, variances of statistics by calibration.

At the variance ratio of the model without markers, all that a test takes is z'Py, z'Pz and y'Py, with P as in `gains`.
P y is solved for once for each chromosome that the kinship leaves out. z'Pz is taken for r z'Mz, M the projection on
what X leaves: the ratio r hardly depends on the marker, and is the mean over markers chosen at random.

Source: Svishcheva et al. (2012), doi:10.1038/ng.2410 (GRAMMAR-Gamma), for the calibration; Loh et al. (2015),
doi:10.1038/ng.3190 (BOLT-LMM-inf), for both with chromosomes left out, and one ratio of variances for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, override

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.conjugate_gradients import Solved, conjugate_gradients
from bayeslmm.likelihood.one_trait import UnitScale, at_unit_scale, log_ml, log_reml
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.likelihood.whitened import Whitened, standardised, whitened
from bayeslmm.scan.fixed import AtFixedRatios
from bayeslmm.scan.gains import Model, Sets, clear_of
from bayeslmm.scan.tests import Units

TOLERANCE = 1e-5
"""Of V^-1 y, relative to y: far below what the calibration leaves open."""

MOST_PRODUCTS = 300

type LeftOut = Callable[[Float64[ndarray, "n b"], Int64[ndarray, " b"]], Float64[ndarray, "n b"]]
"""Products of columns with the kinships that leave out what their numbers say, as `LeftOutProducts.multiply`."""


class Calibration(NamedTuple):
    """z'Pz over z'Mz of one trait, at total variance 1.

    Attributes:
        ratio: the mean over markers.
        error: its standard error.
        spread: the standard deviation between markers.
    """

    ratio: float
    error: float
    spread: float


@dataclass(frozen=True)
class CalibratedScan(AtFixedRatios):
    """Tests of single markers of one chromosome, not rotated; both ratios of a trait are that of its REML.

    Attributes:
        ratio: z'Pz over z'Mz at the 2 t ratios.
    """

    ratio: Float64[ndarray, " m"]

    @override
    def factor(self, sets: Sets) -> list[list[ndarray]]:
        """Return the root of r z'Mz."""
        return [[np.sqrt(np.exp(sets.log_det)[:, None] * self.ratio)]]


@dataclass(frozen=True)
class SolvedTraits:
    """Several traits, solved for with each chromosome left out; made by `solve_traits`.

    Attributes:
        scans: number of what is left out -> the tests against the kinship without it.
        plain: the same without a kinship, by least squares.
        calibrations: of each trait.
        solved: how many products it took, and what was left.
    """

    scans: dict[int, CalibratedScan]
    plain: CalibratedScan
    calibrations: list[Calibration]
    solved: Solved


class _Trait(NamedTuple):
    """One trait at the ratio of its REML.

    Attributes:
        white: its summary.
        share: of the genetic variance, where K has a mean diagonal of 1.
        variance: of the trait given X, at total variance 1.
    """

    white: Whitened
    share: float
    variance: float


@in_float64
def solve_traits(
    multiply: LeftOut,
    summary: SpectralSummary,
    Y: Float[ndarray, "n t"],
    X: Float[ndarray, "n c"],
    out: Sequence[int],
    G: Float[ndarray, "n g"],
    G_out: Int64[ndarray, " g"],
    *,
    tolerance: float = TOLERANCE,
    tell: Callable[[int, float], None] | None = None,
) -> SolvedTraits:
    """Solve for P y of all traits with each chromosome left out, and for the calibration, all in the same passes.

    Args:
        multiply: the kinships.
        summary: of the traits with the whole kinship.
        Y: the traits of the same individuals, complete.
        X: their covariates, of full rank.
        out: number of each thing that kinships leave out.
        G: markers for the calibration, dosages less their mean.
        G_out: what the kinship of each leaves out.
        tolerance: of what is left of each system of equations, relative to its right-hand side.
        tell: as for `conjugate_gradients`.

    Raises:
        AnalysisError: if a system is not solved, as K without a chromosome nearly is not invertible and h2 near 1.
    """
    Q, _ = independent(X)
    (n, c), t = Q.shape, Y.shape[1]
    traits = [_at_reml(whitened(summary.trait(j))) for j in range(t)]
    y, _, sds = standardised(Q, np.asarray(Y, dtype=float), np.full(t, n - c))
    markers = clear_of(Q, np.asarray(G, dtype=float))
    markers /= np.linalg.norm(markers, axis=0)
    # Columns: each trait for each chromosome, then each marker for each trait.
    of_trait = np.concatenate([np.repeat(np.arange(t), len(out)), np.repeat(np.arange(t), len(G_out))])
    left_out = np.concatenate([np.tile(np.asarray(out), t), np.tile(G_out, t)])
    B = np.concatenate([np.repeat(y, len(out), axis=1), np.tile(markers, t)], axis=1)
    shares = np.array([trait.share for trait in traits])
    k = np.array([trait.white.k for trait in traits])

    def product(V: Float64[ndarray, "n b"], columns: Int64[ndarray, " b"]) -> Float64[ndarray, "n b"]:
        share = shares[of_trait[columns]]
        return share / k[of_trait[columns]] * clear_of(Q, multiply(V, left_out[columns])) + (1 - share) * V

    solved = conjugate_gradients(product, B, tolerance=tolerance, most_products=MOST_PRODUCTS, tell=tell)
    if (worst := float(solved.residuals.max())) > tolerance:
        raise AnalysisError(
            f"V^-1 y is not found in {MOST_PRODUCTS} products: {worst:.2g} of y is left. The largest h2 by REML is "
            f"{shares.max():.3g}: with h2 so near 1, V is hardly invertible"
        )
    quads = np.einsum("nb,nb->b", B, solved.x)
    first = t * len(out)
    calibrations = [_calibration(quads[first:].reshape(t, -1)[j]) for j in range(t)]
    Py = solved.x[:, :first].reshape(n, t, len(out))
    of_y = quads[:first].reshape(t, len(out))
    units = [Units(float(sd), trait.white.k, float(np.log(sd)) * n) for sd, trait in zip(sds, traits, strict=True)]

    def scan(
        Py: Float64[ndarray, "n t"], quads: Float64[ndarray, " t"], ratios: list[float], *, h2: bool
    ) -> CalibratedScan:
        at = [trait.share if h2 else 0.0 for trait in traits]
        ml, reml = (
            UnitScale(
                np.repeat(
                    [
                        float(at_unit_scale(loglik, trait.white.data, np.array(share), np.array(1 - share)).log_dets)
                        for trait, share in zip(traits, at, strict=True)
                    ],
                    2,
                ),
                np.repeat(quads, 2),
            )
            for loglik in (log_ml, log_reml)
        )
        return CalibratedScan(
            X=Q,
            model=Model(np.repeat(Py, 2, axis=1), ml, reml),
            delta=[(1 - share) / share if share else np.inf for share in at],
            units=units,
            variance=[trait.variance if h2 else 1.0 for trait in traits],
            ratio=np.repeat(ratios, 2),
        )

    ratios = [found.ratio for found in calibrations]
    return SolvedTraits(
        {number: scan(Py[:, :, i], of_y[:, i], ratios, h2=True) for i, number in enumerate(out)},
        scan(y, np.einsum("nt,nt->t", y, y), [1.0] * t, h2=False),
        calibrations,
        solved,
    )


def _at_reml(white: Whitened) -> _Trait:
    h2 = np.array(reml(white).h2)
    share = float(quantities.pve(h2, 1 - h2, white.k))
    s, counts = np.asarray(white.data.s), np.asarray(white.data.counts)
    return _Trait(white, share, float(share * (s @ counts) / counts.sum() + 1 - share))


def _calibration(ratios: Float64[ndarray, " g"]) -> Calibration:
    spread = float(ratios.std(ddof=1))
    return Calibration(float(ratios.mean()), spread / np.sqrt(len(ratios)), spread)
