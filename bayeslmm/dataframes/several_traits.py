"""How several traits of a DataFrame are related: a formula in, correlations out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Unpack

import pandas as pd
from matplotlib.axes import Axes
from xarray import DataTree

from bayeslmm.analyses.correlations import Correlations, correlations
from bayeslmm.analyses.joint_methods.nuts import program_of
from bayeslmm.analyses.joint_rows import draws_of_traits
from bayeslmm.analyses.method import JointSettings
from bayeslmm.analyses.principal_components import with_principal_components
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import CHAINS, DRAWS
from bayeslmm.cohort.align import align_jointly
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.transform import Transform
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_html, as_text, dropped_of, summary_of
from bayeslmm.dataframes.tables import measurements_of
from bayeslmm.likelihood.priors import JointPrior
from bayeslmm.likelihood.rotation import JointData, Spectrum, decompose
from bayeslmm.posterior.groups import check_groups, with_groups
from bayeslmm.report.plots.rg import matrix_title, plot_correlation, plot_matrix
from bayeslmm.report.plots.style import axes_or_new
from bayeslmm.report.rg import correlation_answers, correlation_table
from bayeslmm.report.tables import best_rows


@dataclass(frozen=True, repr=False)
class JointFit:
    """Several traits together, made by `fit_jointly`.

    Attributes:
        result: all that was estimated.
        cohort: the individuals, matched.
        spectrum: of their kinship.
        rotated: the traits in the eigenbasis.
        prior: that was given, if one was.
        seed: of all random numbers.
        origin: which markers or animals K was computed from, or what its file was read as; empty if neither.
        draws_groups: what `posterior` has beside the draws.
    """

    result: Correlations
    cohort: Cohort
    spectrum: Spectrum
    rotated: JointData
    prior: JointPrior | None
    seed: int
    origin: str
    draws_groups: tuple[str, ...]

    def __repr__(self) -> str:
        return as_text(correlation_answers(self.result), self.cohort, self.origin)

    def _repr_html_(self) -> str:
        return as_html(correlation_answers(self.result), correlation_table(self.result), self.cohort, self.origin)

    @property
    def estimates(self) -> pd.DataFrame:
        """One row for each method, trait or pair, and parameter, as in ``estimates.tsv``."""
        return self.result.estimates

    @property
    def pairs(self) -> pd.DataFrame:
        """What is known about each pair: tests, evidence of the draws."""
        return self.result.pairs

    @property
    def dropped(self) -> pd.DataFrame:
        """Who was not analysed, and why: reason, count, examples."""
        return dropped_of(self.cohort)

    def summary(self) -> pd.DataFrame:
        """Return the estimates of the best method as numbers, the 95% interval first, one row for each parameter."""
        return summary_of(best_rows(self.result.rows, own=self.result.own))

    @cached_property
    def posterior(self) -> DataTree:
        """Draws of NUTS or of importance sampling, as ArviZ has them.

        Raises:
            InputError: if they were not asked for, or failed.
        """
        if self.result.posterior is None:
            raise InputError(
                f"there is no posterior by {', '.join(self.result.fits)}: ask for nuts or importance (methods)"
            )
        return with_groups(
            self.result.posterior,
            self.rotated,
            self.draws_groups,
            program=program_of(len(self.result.traits)),
            prior=self.prior,
            seed=self.seed,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the genetic correlation: of two traits its posterior with its prior and REML, of more a matrix.

        Args:
            ax: where; by default axes of a new figure.
        """
        ax = axes_or_new(ax)
        if len(self.result.traits) == 2 and self.result.posterior is not None:
            plot_correlation(ax, self.result, draws_of_traits(self.result.posterior)["rho_u"], "rho_u")
            ax.set_title(f"Genetic correlation of {' and '.join(self.result.traits)}")
        else:
            plot_matrix(ax, self.result, "rho_u")
            ax.set_title(matrix_title(self.result, "rho_u"))
        return ax


def fit_jointly(
    formula: str,
    *,
    data: pd.DataFrame,
    kinship: KinshipLike,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    transform: Transform | None = None,
    methods: Sequence[str] | None = None,
    seed: int = 1,
    draws_groups: Sequence[str] = (),
    pcs: int = 0,
    complete_only: bool = False,
    centre: bool = False,
    normalise: bool = False,
    bend: bool = False,
    **settings: Unpack[JointSettings],
) -> JointFit:
    """Estimate genetic and residual correlations of two or more traits of a DataFrame.

    The posterior is among the methods by default, by NUTS, or by importance sampling if more than 200 values of two
    traits are missing: a matter of seconds for two traits.

    Args:
        formula: ``BWT + TARSUS ~ sex``: the covariates are those of all traits, as `fit` takes them. An individual may
            lack some of the traits.
        data: one row for each individual.
        kinship: as in `fit`.
        id: the column of ids; by default they are the index.
        ids: of the rows of a kinship that is an array.
        transform: analyse ``log`` or ``rank``, the logarithms or the normal scores of each trait.
        methods: which of those of `correlations`, by default as there.
        seed: for all random numbers.
        draws_groups: what to add to the draws, as in `fit`.
        pcs: how many leading principal components of K to add to the covariates.
        complete_only: drop individuals without all of the traits.
        centre: centre K on the individuals analysed.
        normalise: divide it by its mean diagonal.
        bend: set all its negative eigenvalues to 0.
        **settings: as in `correlations`, the prior among them.

    Raises:
        InputError: for what the user can fix in the formula, the DataFrame, the kinship or the settings.
        AnalysisError: if no method succeeds.
    """
    K, _ = kinship_of(kinship, ids=ids)
    people = measurements_of(formula, data, id=id, kinship=K, transform=transform)
    cohort = align_jointly(K, people, complete_only=complete_only, centred=centre, normalised=normalise)
    spectrum = decompose(cohort.K, where=cohort.source, bend=bend)
    cohort = with_principal_components(cohort, spectrum, pcs)
    rotated = spectrum.rotate_jointly(cohort.Y, cohort.X)
    check_groups(draws_groups, rotated, settings.get("chains", CHAINS) * settings.get("draws", DRAWS))
    result = correlations(
        rotated,
        traits=cohort.traits,
        covariates=cohort.covariates,
        seed=seed,
        methods=methods,
        coords=cohort.coords,
        **settings,
    )
    told = K.origin_line(), tuple(draws_groups)
    return JointFit(result, cohort, spectrum, rotated, settings.get("prior"), seed, *told)
