"""The options about inference, with types: priors and draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpyro.distributions as dist

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.defaults import PRIOR_ETA, PRIOR_H2, PRIOR_TOTAL
from bayeslmm.commands.settings import option
from bayeslmm.likelihood.priors import (
    BivariatePrior,
    ComponentsPrior,
    JointComponentsPrior,
    JointPrior,
    MultivariatePrior,
    VariancePrior,
    beta_prior,
    correlation_prior,
)


@dataclass(frozen=True)
class PriorSettings:
    """Priors of the built-in programs."""

    prior_h2: tuple[float, float] = PRIOR_H2

    @property
    def given(self) -> list[str]:
        """The options that are not left at their defaults."""
        return [option(field.name) for field in fields(self) if getattr(self, field.name) != field.default]

    def of_one_trait(self) -> VariancePrior:
        """Return the prior of methods for one trait."""
        return VariancePrior(h2=beta_prior(*self.prior_h2))


@dataclass(frozen=True)
class ComponentsPriorSettings:
    """Prior of several components of variance."""

    prior_shares: tuple[str, ...]
    prior_total: tuple[float, float]

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in self.prior_total):
            raise InputError(f"--prior-total needs two numbers above 0, but {examples(self.prior_total)} was given")
        self._concentrations()

    def _concentrations(self) -> dict[str, float]:
        """Return concentrations by name of the component; that of all is without a name."""
        shares: dict[str, float] = {}
        for text in self.prior_shares:
            name, _, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if not 0 < value < math.inf or name in shares:
                raise InputError(
                    f"--prior-shares {text}: a concentration above 0 is expected, A for all components or NAME=A for "
                    "one, each once"
                )
            shares[name] = value
        return shares

    @property
    def given(self) -> list[str]:
        """The options that are not left at their defaults."""
        return ["--prior-shares"] * bool(self.prior_shares) + ["--prior-total"] * (self.prior_total != PRIOR_TOTAL)

    @property
    def of_some(self) -> dict[str, str]:
        """What ``run.json`` says of the prior where options name components."""
        return {"shares": f"concentrations {' '.join(self.prior_shares)}"} if self.prior_shares else {}

    def of_components(self, names: Sequence[str] = ()) -> ComponentsPrior:
        """Return the prior of components, the residual last; without names, that of those that options do not name.

        Raises:
            InputError: if the options name another component.
        """
        shares = self._concentrations()
        for_all = shares.get("", 1.0)
        median, sd = self.prior_total
        total = dist.LogNormal(math.log(median), sd)
        if not names:
            return ComponentsPrior(for_all, total)
        if unknown := [name for name in shares if name and name not in names]:
            raise InputError(f"--prior-shares {unknown[0]}: the components are {examples(names, most=12)}")
        return ComponentsPrior(tuple(shares.get(name, for_all) for name in names), total)


@dataclass(frozen=True)
class JointPriorSettings(PriorSettings):
    """Priors of the built-in programs for several traits."""

    prior_eta: tuple[float, float] = PRIOR_ETA

    def of_traits(self, t: int) -> JointPrior:
        """Return the prior of methods for t traits."""
        h2, (eta_u, eta_e) = beta_prior(*self.prior_h2), self.prior_eta
        if t == 2:
            return BivariatePrior(h2=h2, rho_u=correlation_prior(eta_u, t), rho_e=correlation_prior(eta_e, t))
        return MultivariatePrior(h2=h2, eta_u=eta_u, eta_e=eta_e)

    def of_components(self, prior: ComponentsPrior, names: Sequence[str]) -> JointComponentsPrior:
        """Return the prior of several traits with components, the residual last: eta of U is that of all others."""
        eta_u, eta_e = self.prior_eta
        etas = (eta_u,) * (len(names) - 1) + (eta_e,)
        return JointComponentsPrior(prior.shares, prior.sigma2_p, etas)


@dataclass(frozen=True)
class NutsSettings:
    """How NUTS samples; the arguments of the same names of `heritability`, `compare` and `correlations`."""

    chains: int
    draws: int
    warmup: int
    target_accept: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.target_accept < 1:
            raise InputError(f"--target-accept must be between 0 and 1, but {self.target_accept:g} was given")
