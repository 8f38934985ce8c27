"""The heritability of one trait from a DataFrame: a formula in, a posterior out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Unpack

import pandas as pd
from matplotlib.axes import Axes
from xarray import DataTree

from bayeslmm.analyses.heritability import Heritability, heritability
from bayeslmm.analyses.liability_rows import with_liability_draws
from bayeslmm.analyses.method import Settings
from bayeslmm.analyses.principal_components import with_principal_components
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import CHAINS, DRAWS
from bayeslmm.cohort.align import align
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.transform import Transform
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_html, as_text, dropped_of, summary_of
from bayeslmm.dataframes.tables import measurements_of
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import RotatedData, Spectrum, decompose
from bayeslmm.models import univariate
from bayeslmm.posterior.exact_draws import exact_draws
from bayeslmm.posterior.groups import check_groups, with_groups
from bayeslmm.report.h2 import heritability_answers, heritability_table
from bayeslmm.report.plots.h2 import plot_posterior
from bayeslmm.report.plots.style import axes_or_new
from bayeslmm.report.tables import best_rows


@dataclass(frozen=True, repr=False)
class Fit:
    """The heritability of one trait, made by `fit`.

    Attributes:
        result: all that was estimated.
        cohort: the individuals, matched.
        spectrum: of their kinship.
        rotated: the trait in the eigenbasis, for every method of the package.
        prior: of the posterior.
        settings: of `fit`: the seed, and how many draws.
        origin: which markers or animals K was computed from, or what its file was read as; empty if neither.
        draws_groups: what `posterior` has beside the draws.
    """

    result: Heritability
    cohort: Cohort
    spectrum: Spectrum
    rotated: RotatedData
    prior: VariancePrior
    settings: dict[str, Any]
    origin: str = ""
    draws_groups: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return as_text(heritability_answers(self.result), self.cohort, self.origin)

    def _repr_html_(self) -> str:
        return as_html(heritability_answers(self.result), heritability_table(self.result), self.cohort, self.origin)

    @property
    def estimates(self) -> pd.DataFrame:
        """One row for each method and parameter, as in ``estimates.tsv``."""
        return self.result.estimates

    @property
    def dropped(self) -> pd.DataFrame:
        """Who was not analysed, and why: reason, count, examples."""
        return dropped_of(self.cohort)

    def summary(self) -> pd.DataFrame:
        """Return the estimates of the best method as numbers, the 95% interval first, one row for each parameter."""
        rows = best_rows(self.result.rows, own=self.result.own)
        place = {"h2_liability": 0, "h2": 1, "pve": 2}
        return summary_of(sorted(rows, key=lambda row: place.get(row.parameter, 3))).droplevel("trait")

    @cached_property
    def posterior(self) -> DataTree:
        """Draws as ArviZ has them: those of NUTS if it was asked for, else independent ones of the exact posterior.

        With a prevalence, ``h2_liability`` is among them. Those of the threshold model if it alone was asked for.

        Raises:
            InputError: if none of these methods was asked for.
        """
        if self.result.posterior is not None:
            return self._with_groups(self.result.posterior)
        if self.result.exact is None and self.result.threshold is not None:
            if self.draws_groups:
                raise InputError(f"draws of the threshold model have no group {self.draws_groups[0]} (draws_groups)")
            return self.result.threshold
        if self.result.exact is None:
            raise InputError(f"there is no posterior by {', '.join(self.result.fits)}: ask for exact or nuts (methods)")
        coords = {"trait": [self.result.trait], "covariate": list(self.cohort.covariates[0])}
        draws = exact_draws(
            self.result.exact, self.rotated, self.prior, dims=univariate.DIMS, coords=coords, **self.settings
        )
        return self._with_groups(draws)

    def _with_groups(self, draws: DataTree) -> DataTree:
        of_draws = {"program": univariate, "prior": self.prior, "seed": self.settings["seed"]}
        groups = with_groups(draws, self.rotated, self.draws_groups, **of_draws)
        return with_liability_draws(groups, None if self.result.own else self.result.liability)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the posterior of h2 with its prior, and REML beside it; return the axes.

        Args:
            ax: where; by default axes of a new figure.
        """
        ax = axes_or_new(ax)
        plot_posterior(ax, self.result, self.prior, self.spectrum.mean_diagonal)
        ax.set_title(f"Heritability of {self.result.trait}, {len(self.cohort.ids):,} individuals")
        return ax


def fit(
    formula: str,
    *,
    data: pd.DataFrame,
    kinship: KinshipLike,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    transform: Transform | None = None,
    methods: Sequence[str] = ("reml", "exact"),
    seed: int = 1,
    draws_groups: Sequence[str] = (),
    pcs: int = 0,
    centre: bool = False,
    normalise: bool = False,
    bend: bool = False,
    **settings: Unpack[Settings],
) -> Fit:
    """Estimate the heritability of one trait of a DataFrame.

    By default the exact posterior answers, in a fraction of a second and with more digits than draws have; "nuts" among
    the methods draws as well.

    Args:
        formula: ``BWT ~ sex * age + bs(weight, df=4) + C(year)``: what formulaic understands, of columns of ``data``.
            Its expressions are Python, and see no variable of the caller. Columns of text or categories are categories,
            the latter in their order; numbers are numbers, and `C(year)` makes them categories.
        data: one row for each individual; rows with a missing value of what the formula uses are dropped, and counted.
        kinship: as `kinship_of` takes it: a matrix, a pedigree, genotypes, or the path of one.
        id: the column of ids; by default they are the index.
        ids: of the rows of a kinship that is an array.
        transform: analyse ``log`` or ``rank``, the logarithms or the normal scores of each trait.
        methods: which of those of `heritability`.
        seed: for all random numbers.
        draws_groups: what to add to the draws: "prior", "log_prior", "posterior_predictive", "log_likelihood" (see
            `with_groups`).
        pcs: how many leading principal components of K to add to the covariates.
        centre: centre K on the individuals analysed.
        normalise: divide it by its mean diagonal.
        bend: set all its negative eigenvalues to 0.
        **settings: as in `heritability`, the prior among them.

    Raises:
        InputError: for what the user can fix in the formula, the DataFrame, the kinship or the settings.
    """
    K, genotypes = kinship_of(kinship, ids=ids)
    two_values = settings.get("prevalence") is not None or "threshold" in methods
    people = measurements_of(formula, data, id=id, kinship=K, transform=transform, two_values=two_values)
    if len(people.traits) > 1:
        raise InputError(f"fit takes one trait, but {', '.join(people.traits)} were given: use fit_jointly")
    (cohort,) = align(K, people, centred=centre, normalised=normalise)
    spectrum = decompose(cohort.K, where=cohort.source, bend=bend)
    cohort = with_principal_components(cohort, spectrum, pcs)
    rotated = spectrum.rotate(cohort.Y, cohort.X)
    of_draws = {"seed": seed, "chains": settings.get("chains", CHAINS), "draws": settings.get("draws", DRAWS)}
    check_groups(draws_groups, rotated, of_draws["chains"] * of_draws["draws"])
    result = heritability(
        rotated,
        trait=cohort.traits[0],
        covariates=cohort.covariates[0],
        seed=seed,
        methods=methods,
        cohort=cohort,
        markers=MarkerBlocks(genotypes) if genotypes else None,
        spectrum=spectrum,
        **settings,
    )
    prior = settings.get("prior") or VariancePrior()
    return Fit(result, cohort, spectrum, rotated, prior, of_draws, K.origin_line(), tuple(draws_groups))
