"""A scan of one cohort: blocks of markers in, tables out; and the posterior of single effects."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray
from numpy.polynomial.hermite_e import hermeval
from scipy.stats import chi2, kurtosis, norm, skew

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.design import INTERCEPT
from bayeslmm.genotypes.blocks import Block, dosages
from bayeslmm.genotypes.chromosomes import chromosomes, labelled, special_chromosomes
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.rotation import RotatedData, Spectrum
from bayeslmm.posterior import exact
from bayeslmm.scan.calibrated import CalibratedScan
from bayeslmm.scan.exact import ExactScan, exact_scan
from bayeslmm.scan.fixed import FixedScan, fixed_scan, null_scan
from bayeslmm.scan.gains import sets_by_rank
from bayeslmm.scan.table import effect_row, marker_rows
from bayeslmm.scan.tests import Tests

_P, _NORMAL = 1e-4, 1e-3
_ONE_COPY = ("X", "Y", "Z", "W")  # in one of the sexes


@dataclass(frozen=True)
class Markers:
    """Genotypes, all of whose markers are tested, and where each chromosome is among them."""

    genotypes: Genotypes
    chromosomes: dict[str, range]

    @classmethod
    def of(cls, genotypes: Genotypes) -> "Markers":
        """Find the chromosomes of genotypes.

        Raises:
            InputError: as `chromosomes` does.
        """
        return cls(genotypes, chromosomes(genotypes.variants, where=genotypes.path))


def special_words(markers: Markers) -> str:
    """Say which of the markers to test are not on autosomes, and what that means; empty if all are."""
    kinds = special_chromosomes(list(markers.chromosomes))
    named = [f"{len(markers.chromosomes[name]):,} on {labelled(name, kinds)}" for name in kinds]
    if not named:
        return ""
    sex = any(kind in _ONE_COPY for kind in kinds.values())
    return f"markers tested that are not on autosomes: {', '.join(named)}" + (
        "; PLINK codes the single copy of males as 0 and 2, so that an effect there is that of half a copy, and "
        "differences between the sexes are tested with it unless sex is a covariate"
        if sex
        else ""
    )


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """What is tested, and how.

    Attributes:
        test: variance ratio estimated with each marker, or that of the model without markers.
        maf: least minor allele frequency among the individuals of the cohort.
        geno: largest missing rate among them.
        ols: add least squares without kinship.
        interaction: covariates to test the product of each marker with.
        covariate_effects: add the effects of covariates beside each marker; needs the test "null".
        prior_effect: standard deviation of the prior of an effect, in standard deviations of the trait given X.
    """

    test: Literal["exact", "null"]
    maf: float
    geno: float
    ols: bool
    interaction: Sequence[str]
    covariate_effects: bool
    prior_effect: float

    def prepare(self, data: RotatedData) -> ExactScan | FixedScan:
        """Fit what the tests of all markers share."""
        return exact_scan(data) if self.test == "exact" else null_scan(data)


def least_allele_counts(cohort: Cohort[Any]) -> dict[str, float]:
    r"""Return how often the rarer allele must occur for small p-values against each trait to be believed; 0 for normal.

    The statistic of a marker with few copies m of its rarer allele is about a mean of m residuals. The first terms of
    its Edgeworth expansion, :math:`\frac{\kappa}{24 m} He_3(z) + \frac{\gamma^2}{72 m} He_5(z)` times the density at z
    for skewness :math:`\gamma` and excess kurtosis :math:`\kappa` of the trait given X, double a two-sided p-value of
    1e-4 at the m returned. Traits that Jarque and Bera's test lets pass at 0.001 are taken for normal.

    Source: Hall (1992), The Bootstrap and Edgeworth Expansion, section 2.4; Jarque and Bera (1987),
        doi:10.2307/1403192.
    """
    Q, _ = orthonormal(cohort.X[0])
    residuals = cohort.Y - Q @ (Q.T @ cohort.Y)
    skew2, excess = np.atleast_1d(skew(residuals)) ** 2, np.atleast_1d(kurtosis(residuals))
    z = norm.isf(_P / 2)
    third, fifth = hermeval(z, np.eye(6)[3]), hermeval(z, np.eye(6)[5])
    least = (third / 24 * excess + fifth / 72 * skew2) * norm.pdf(z) / norm.sf(z)
    passes = chi2.sf(len(residuals) * (skew2 / 6 + excess**2 / 24), 2) > _NORMAL
    return dict(zip(cohort.traits, np.where(passes, 0.0, np.maximum(least, 0.0)).tolist(), strict=True))


def block_tables(
    markers: Markers, cohort: Cohort, spectrum: Spectrum, blocks: Mapping[int, range], settings: ScanSettings
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the number and the table of each block, with its traits and counts of markers as `attrs`.

    The last column of a table is ``line``: which marker of the file it is, as names may repeat.

    Args:
        markers: of the file.
        cohort: the individuals.
        spectrum: of the kinship against which these markers are tested.
        blocks: number of each block -> its markers.
        settings: what is tested.

    Raises:
        InputError: if h2 is not identified, or an interaction is with something that is not one column of X.
    """
    data = spectrum.rotate(cohort.Y, cohort.X)
    scan = settings.prepare(data)
    plain = fixed_scan(data, 0.0) if settings.ols else None
    factors = {name: _factor(cohort, name) for name in settings.interaction}

    def tested(block: Block) -> dict[str, Any]:
        Z = spectrum.U.T @ block.G
        tests = scan.test([Z])
        interactions: dict[str, dict[str, Tests]] = {}
        for name, factor in factors.items():
            sets = scan.test([Z, spectrum.U.T @ (block.G * factor[:, None])])
            interactions[name] = dict(zip(cohort.traits, sets, strict=True))
        alpha = None
        if isinstance(scan, FixedScan) and settings.covariate_effects:
            beta = np.column_stack([test.beta[:, 0] for test in tests])
            alpha = dict(zip(cohort.traits, scan.covariate_effects(Z, beta), strict=True))
        return {
            "tests": dict(zip(cohort.traits, tests, strict=True)),
            "ols": dict(zip(cohort.traits, plain.test([Z]), strict=True)) if plain else None,
            "interactions": interactions,
            "covariate_effects": alpha,
            "covariates": cohort.covariates[0],
        }

    df = scan.X.shape[0] - scan.X.shape[1] - 1
    yield from _tables(markers, cohort, blocks, settings, tested, df)


def calibrated_tables(
    markers: Markers,
    cohort: Cohort[Any],
    scan: CalibratedScan,
    plain: CalibratedScan,
    blocks: Mapping[int, range],
    settings: ScanSettings,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the number and the table of each block, as `block_tables` does, without an eigenbasis.

    Args:
        markers: of the file.
        cohort: the individuals.
        scan: of the kinship against which these markers are tested.
        plain: without a kinship.
        blocks: number of each block -> its markers.
        settings: what is tested, of which filters, least squares and the prior are used.
    """

    def tested(block: Block) -> dict[str, Any]:
        of = {"tests": scan, "ols": plain} if settings.ols else {"tests": scan}
        return {what: dict(zip(cohort.traits, one.test([block.G]), strict=True)) for what, one in of.items()}

    df = scan.X.shape[0] - scan.X.shape[1] - 1
    yield from _tables(markers, cohort, blocks, settings, tested, df)


def _tables(
    markers: Markers,
    cohort: Cohort[Any],
    blocks: Mapping[int, range],
    settings: ScanSettings,
    tested: Callable[[Block], dict[str, Any]],
    df: int,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the number and the table of each block.

    Args:
        markers: of the file.
        cohort: the individuals.
        blocks: number of each block -> its markers.
        settings: the filters, and the prior.
        tested: returns what `marker_rows` takes of a block.
        df: degrees of freedom of standard errors.
    """
    rows = markers.genotypes.rows(cohort.ids)
    read = dosages(markers.genotypes, rows, blocks.values(), maf=settings.maf, geno=settings.geno)
    for number, block in zip(blocks, read, strict=True):
        table = marker_rows(
            markers.genotypes.variants, block, prior_effect=settings.prior_effect, df=df, **tested(block)
        )
        table["line"] = np.repeat(block.lines, len(cohort.traits))
        table.attrs = {"traits": list(cohort.traits), "markers": asdict(block.tally.counts)}
        yield number, table


def _factor(cohort: Cohort, name: str) -> Float64[ndarray, " n"]:
    """Return the values of a covariate less their mean, so that the effect of a marker is that at the mean.

    Raises:
        InputError: if the covariate is not one column of X.
    """
    names = cohort.covariates[0]
    columns = [j for j, column in enumerate(names) if column == name or column.startswith(f"{name}[")]
    if len(columns) != 1 or name == INTERCEPT:
        matches = f"{len(columns)} columns" if columns else f"none of the covariates {', '.join(names)}"
        raise InputError(
            f"interaction {name}: it must be a covariate with one column (a number, or two categories), but it is "
            f"{matches}"
        )
    values = cohort.X[0][:, columns[0]]
    return values - values.mean()


def effect_rows(
    markers: Markers, cohort: Cohort, spectrum: Spectrum, lines: Mapping[str, Sequence[int]]
) -> Iterator[dict[str, Any]]:
    """Yield the posterior of effects, the variance components integrated out.

    The prior of an effect is flat, as that of all fixed effects; those of the variances are the defaults of `exact`.
    Warns of markers that do not vary, or that the covariates determine.

    Args:
        markers: of the file.
        cohort: the individuals.
        spectrum: of the kinship against which these markers are tested.
        lines: trait -> which markers.
    """
    variants, rows = markers.genotypes.variants, markers.genotypes.rows(cohort.ids)
    data = spectrum.rotate(cohort.Y, cohort.X)
    Q, _ = orthonormal(data.X)
    for trait, of_trait in lines.items():
        y = data.Y[:, [cohort.traits.index(trait)]]
        alone = dosages(markers.genotypes, rows, [range(k, k + 1) for k in of_trait], maf=0.0, geno=1.0)
        for line, block in zip(of_trait, alone, strict=True):
            z = spectrum.U.T @ block.G
            varies = bool(block.lines.size)
            if not varies or next(sets_by_rank(Q, [z]), None) is None:
                why = "is a combination of the covariates" if varies else "does not vary"
                text = f"{variants['snp'][line]} {why} among the individuals with {trait}: its effect has no posterior"
                warnings.warn(text, InputWarning, stacklevel=2)
                continue
            with_marker = data._replace(Y=y, X=np.column_stack([data.X, z]))
            yield effect_row(variants.iloc[line], trait, exact.posterior(with_marker))
