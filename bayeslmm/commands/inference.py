"""The options about inference, with types: priors and draws."""

from dataclasses import dataclass, fields

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import PRIOR_ETA, PRIOR_H2
from bayeslmm.commands.settings import option
from bayeslmm.likelihood.priors import (
    BivariatePrior,
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
class JointPriorSettings(PriorSettings):
    """Priors of the built-in programs for several traits."""

    prior_eta: tuple[float, float] = PRIOR_ETA

    def of_traits(self, t: int) -> JointPrior:
        """Return the prior of methods for t traits."""
        h2, (eta_u, eta_e) = beta_prior(*self.prior_h2), self.prior_eta
        if t == 2:
            return BivariatePrior(h2=h2, rho_u=correlation_prior(eta_u, t), rho_e=correlation_prior(eta_e, t))
        return MultivariatePrior(h2=h2, eta_u=eta_u, eta_e=eta_e)


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
