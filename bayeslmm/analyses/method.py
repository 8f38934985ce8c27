"""What a method is: how it is called and fitted, how it becomes rows, and what it should be near, in one record."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Row
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import Kind
from bayeslmm.estimators.joint_moments import overlaps
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.estimators.liability import Liability
from bayeslmm.estimators.reml import reml
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood.joint_whitened import JointWhitened
from bayeslmm.likelihood.rotation import JointData, RotatedData, Spectrum
from bayeslmm.likelihood.whitened import Whitened
from bayeslmm.posterior.checked_draws import checked_draws
from bayeslmm.posterior.diagnostics import Diagnostics
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.posterior.joint_importance import JointPosterior
from bayeslmm.posterior.marginal import Marginal
from bayeslmm.posterior.sampling import Program, takes_prior
from bayeslmm.posterior.tree import Data

MomentsSe = Literal["exact", "jackknife"]


class JointSettings(TypedDict, total=False):
    """How to estimate; `heritability` explains each. Those of NUTS have the defaults of `sample`."""

    se_kind: Kind
    prior: Any
    chains: int
    draws: int
    warmup: int
    target_accept: float


class Settings(JointSettings, total=False):
    """How to estimate one trait."""

    moments_se: MomentsSe
    prevalence: float | None


class Drawn(NamedTuple):
    """What NUTS returns: draws with their checks."""

    posterior: DataTree
    diagnostics: Diagnostics


class Weighed(NamedTuple):
    """What importance sampling of several traits returns: draws of equal weight, and the weighted ones behind them."""

    posterior: DataTree
    weighted: JointPosterior


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a method is asked to estimate.

    Attributes:
        seed: for all random numbers.
        settings: how to estimate.
        program: what NUTS samples.
        own: whether that is the user's program: then NUTS is of another model than all other methods.
        attrs: kept with the draws.

    Raises:
        TypeError: if a setting is unknown.
    """

    seed: int
    settings: Mapping[str, Any]
    program: Program | Callable[..., None]
    own: bool
    attrs: Mapping[str, Any] | None
    KNOWN: ClassVar[type] = JointSettings

    def __post_init__(self) -> None:
        if unknown := [name for name in self.settings if name not in self.KNOWN.__annotations__]:
            raise TypeError(f"{unknown[0]!r} is no setting: those are {', '.join(self.KNOWN.__annotations__)}")

    @property
    def se_kind(self) -> Kind:
        """Which information gives the standard errors."""
        return self.settings.get("se_kind", "average")

    @property
    def prior(self) -> Any:
        """The prior that was given, or None."""
        return self.settings.get("prior")

    def check_prior(self, methods: Sequence[str]) -> None:
        """Refuse a prior that no method takes.

        Raises:
            InputError: if the program takes no prior and the exact posterior is not asked for.
        """
        if self.prior is not None and not takes_prior(self.program) and not {"exact", "threshold"} & {*methods}:
            raise InputError(
                "a prior was given, but the program that NUTS samples takes none, nor does any other method: leave the "
                "prior out"
            )

    def draw(self, data: Data, coords: Mapping[str, Sequence[Any]], **start: Any) -> Drawn:
        """Return draws of the program, with their checks."""
        sampling = {name: value for name, value in self.settings.items() if name in _OF_NUTS}
        prior = self.prior if takes_prior(self.program) else None
        common = {"seed": self.seed, "prior": prior, "coords": coords, "attrs": self.attrs}
        return Drawn(*checked_draws(self.program, data, **common, **sampling, **start))


_OF_NUTS = ("chains", "draws", "warmup", "target_accept")


@dataclass(frozen=True, kw_only=True)
class TraitRequest(Request):
    """One trait of a cohort.

    Attributes:
        white: the trait in the eigenbasis, whitened once for all methods.
        trait: its name.
        covariates: names of the columns of X.
        cohort: the individuals before rotation, if known.
        markers: the genotypes, if known.
        spectrum: of the kinship of the cohort, if known.
    """

    white: Whitened
    trait: str
    covariates: tuple[str, ...]
    cohort: Cohort[Any] | None
    markers: MarkerBlocks | None
    spectrum: Spectrum | None = None
    KNOWN: ClassVar[type] = Settings

    @property
    def data(self) -> RotatedData:
        """The trait as it was given."""
        return self.white.given

    @cached_property
    def reml(self) -> Estimate:
        """REML, which other methods need."""
        return reml(self.white)

    @cached_property
    def liability(self) -> Liability | None:
        """How the trait is taken to the scale of its liability, if a prevalence is given.

        Raises:
            InputError: if the cohort was not given or its traits are transformed, or as `Liability.of`.
        """
        prevalence = self.settings.get("prevalence")
        if prevalence is None:
            return None
        if self.cohort is None:
            raise InputError("a prevalence is about cases, and needs the cohort before rotation")
        if self.cohort.transform:
            raise InputError("a prevalence is about the values of a trait as they are: leave out transform")
        return Liability.of(self.measured(self.cohort)[0][:, 0], self.trait, prevalence)

    def measured(self, cohort: Cohort[Any]) -> tuple[Float64[ndarray, "n 1"], Float64[ndarray, "n c"]]:
        """Return the trait and its covariates before rotation."""
        at = cohort.traits.index(self.trait)
        return cohort.Y[:, [at]], cohort.X[at]

    def genotyped(
        self, method: str
    ) -> tuple[MarkerBlocks, tuple[str, ...], Float64[ndarray, "n 1"], Float64[ndarray, "n c"]]:
        """Return genotypes, ids, trait and covariates before rotation, for a method that works on genotypes.

        Raises:
            InputError: if they were not given.
        """
        if self.markers is None or self.cohort is None:
            raise InputError(f"the method {method} works on genotypes, and needs markers and cohort")
        return self.markers, self.cohort.ids, *self.measured(self.cohort)


@dataclass(frozen=True, kw_only=True)
class JointRequest(Request):
    """Several traits of a cohort.

    Attributes:
        white: the traits in the eigenbasis, whitened once for all methods.
        traits: their names.
        covariates: for each trait the names of the columns of its X.
        coords: names of further dimensions of the draws.
        workers: of importance sampling.
    """

    white: JointWhitened
    traits: tuple[str, ...]
    covariates: tuple[tuple[str, ...], ...]
    coords: Mapping[str, Sequence[Any]]
    workers: int

    @property
    def data(self) -> JointData:
        """The traits as they were given."""
        return self.white.given

    @cached_property
    def reml(self) -> JointEstimate:
        """REML, from which the posterior is sampled.

        Raises:
            AnalysisError: if no search converges.
        """
        return joint_reml(self.white)

    @cached_property
    def overlaps(self) -> Float64[ndarray, "t t"]:
        """How many individuals have both traits of each pair, shape (t, t)."""
        return overlaps(self.data)


class Near(NamedTuple):
    """What h2 by a method should be near.

    Attributes:
        method: the method it is compared with; "" if none.
        h2: the value.
        allowed: the largest difference that theory allows, in units of h2; NaN if it is not judged.
    """

    method: str = ""
    h2: float = np.nan
    allowed: float = np.nan


@dataclass(frozen=True)
class Fitted:
    """All fits of one trait, to hold one against another.

    Attributes:
        fits: by name of method; "em_markers" and "pxem_markers" are EM in marker space.
        flat: the posterior of h2 under the default prior.
        white: the trait in the eigenbasis.
    """

    fits: Mapping[str, Any]
    flat: Marginal
    white: Whitened

    def get[T](self, name: str, kind: type[T]) -> T:
        """Return the fit of a method."""
        fit = self.fits[name]
        if not isinstance(fit, kind):
            raise TypeError(f"{name} is a {type(fit).__name__}, not a {kind.__name__}")
        return fit

    @property
    def reml(self) -> Estimate:
        """REML."""
        return self.get("reml", Estimate)

    @property
    def posterior(self) -> Marginal:
        """The posterior of h2 by quadrature."""
        return self.get("exact", ExactPosterior).h2

    @property
    def slack(self) -> float:
        """A difference in h2 that nobody would call one."""
        return 0.02 * self.posterior.sd


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: the file that holds it, in ``methods``, ``joint_methods`` or ``component_methods``, has its name.

    Attributes:
        name: as it is asked for.
        label: as it is called in tables and pictures.
        spread: what its spread is: a standard error, a posterior standard deviation, or none.
        rank: of the methods asked for, that of the lowest rank gives the answer.
        order: its place in tables of all methods.
        fit: `TraitRequest`, `JointRequest` or `ComponentsRequest` -> what the method returns.
        rows: what it returned, request -> rows of the table of estimates.
        sources: what to cite.
        near: what it returned, all fits -> what its h2 should be near.
        why: what it returned, all fits -> the reason, in words.
        marker_space: trait, number of markers -> the same fit in marker space, if it is another computation there.
        needs: what it needs beside the rotated data.
        of_individuals: whether it needs a row of the rotated data, or the eigenvectors, for each individual.
        wide: whether its intervals can be so wide that pictures are scaled by those of the other methods.
    """

    name: str
    label: str
    spread: Literal["se", "sd", ""]
    rank: int
    order: int
    fit: Callable[[Any], Any]
    rows: Callable[[Any, Any], list[Row]]
    sources: tuple[Source, ...]
    near: Callable[[Any, Fitted], Near] = lambda fit, fitted: Near()
    why: Callable[[Any, Fitted], str] = lambda fit, fitted: ""
    marker_space: Callable[[Whitened, int], Any] | None = None
    needs: Literal["genotypes", "reml", "two values"] | None = None
    of_individuals: bool = False
    wide: bool = False


def methods_in(folder: Literal["methods", "joint_methods", "component_methods"]) -> dict[str, Method]:
    """Return the methods of a folder by name, in their order."""
    package = f"bayeslmm.analyses.{folder}"
    names: Sequence[str] = importlib.import_module(package).NAMES
    records: list[Method] = [importlib.import_module(f"{package}.{name}").METHOD for name in names]
    return {method.name: method for method in sorted(records, key=lambda method: method.order)}
