"""What is asked about several components of variance, and the rows that answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from jaxtyping import Float
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.method import JointSettings, Request
from bayeslmm.estimators.components_reml import ComponentsEstimate, components_reml
from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.priors import ComponentsPrior


@dataclass(frozen=True, kw_only=True)
class ComponentsRequest(Request):
    """Records of one trait with several components of variance.

    Attributes:
        data: the records.
        heritable: the components whose shares together are h2; nothing if there is no h2.
        lasting: those whose shares together are the repeatability; nothing if individuals have one record.
        workers: of importance sampling.
        markers: of each set of markers that is a component, how many; nothing if there is no partition.
    """

    data: Components
    heritable: tuple[str, ...]
    lasting: tuple[str, ...]
    workers: int
    markers: Mapping[str, int]
    KNOWN: ClassVar[type] = JointSettings

    @property
    def trait(self) -> str:
        """Its name."""
        return self.data.records.trait

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return self.data.names

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the columns of X."""
        return self.data.records.covariates

    @property
    def components_prior(self) -> ComponentsPrior:
        """The prior that was given, or the default."""
        return self.prior or ComponentsPrior()

    @cached_property
    def reml(self) -> ComponentsEstimate:
        """REML, which other methods need.

        Raises:
            AnalysisError: if the search does not converge.
        """
        return components_reml(self.data)

    @property
    def shares(self) -> dict[str, tuple[str, ...]]:
        """The shares that are reported: by parameter, the components that it is made of."""
        shares = {f"share[{name}]": (name,) for name in self.names}
        sums = {"h2": self.heritable, "repeatability": self.lasting}
        return shares | {parameter: names for parameter, names in sums.items() if names}

    @property
    def enrichments(self) -> dict[str, tuple[str, float]]:
        """What a share of h2 is divided by: by parameter, a set of h2 and its share of the markers of these."""
        markers = {name: count for name, count in self.markers.items() if name in self.heritable}
        total = sum(markers.values())
        return {f"enrichment[{name}]": (name, count / total) for name, count in markers.items() if len(markers) > 1}

    @property
    def variances(self) -> dict[str, int]:
        """The variances that are reported: by parameter, the number of the component."""
        return {f"sigma2[{name}]": j for j, name in enumerate(self.names)}


def sigma2_of(posterior: DataTree, request: ComponentsRequest) -> Float[ndarray, "chain draw k"]:
    """Return draws of NUTS of the variances, in the order of the components."""
    draws = posterior["posterior"]["sigma2"].sel(component=list(request.names))
    return draws.transpose("chain", "draw", "component").to_numpy()


def draws_of(sigma2: Float[ndarray, "*draws k"], request: ComponentsRequest) -> Mapping[str, Float[ndarray, "*draws"]]:
    """Return draws of all that is reported about the variances, from draws of these."""
    total = sigma2.sum(axis=-1)
    values = {parameter: sigma2[..., j] for parameter, j in request.variances.items()}
    values |= {"sigma2_p": total}
    for parameter, names in request.shares.items():
        values[parameter] = sigma2[..., positions(names, request)].sum(axis=-1) / total
    if request.heritable:
        scaled = sigma2 * request.data.k_scales
        genetic = sigma2[..., positions(request.heritable, request)].sum(axis=-1)
        for parameter, (name, of_markers) in request.enrichments.items():
            values[parameter] = sigma2[..., request.names.index(name)] / genetic / of_markers
        values["pve"] = scaled[..., positions(request.heritable, request)].sum(axis=-1) / scaled.sum(axis=-1)
    return values


def positions(names: Sequence[str], request: ComponentsRequest) -> list[int]:
    """Return the numbers of components."""
    return [request.names.index(name) for name in names]
