r"""Traits of two values: from the heritability of the values to that of a liability of which they are the two sides.

An individual is a case if a normal liability exceeds a threshold. If K of a population are cases and P of those who are
analysed, then h2 of a normal model of the two values, times

.. math::

    \frac{K^2 (1 - K)^2}{z^2 P (1 - P)}

is that of the liability; z is the normal density at the threshold. It is a first-order approximation in how alike
relatives are: for a sample as the population is (P = K) that of Dempster and Lerner, and with it for one in which cases
are more frequent.

Source: Lee et al. (2011), doi:10.1016/j.ajhg.2011.02.002, equation 23; Dempster and Lerner (1950),
doi:10.1093/genetics/35.2.212.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm

from bayeslmm.base.checks import InputError, examples, quoted


def liability_factor(prevalence: float, share: float) -> float:
    """Return what h2 of the two values is to be multiplied by.

    Args:
        prevalence: share of cases in the population (the paper's K).
        share: share of cases among those who are analysed (P).
    """
    z = norm.pdf(norm.isf(prevalence))
    return float((prevalence * (1 - prevalence) / z) ** 2 / (share * (1 - share)))


def check_prevalence(prevalence: float, name: str = "prevalence") -> None:
    """Refuse a prevalence that is none.

    Raises:
        InputError: if it is not between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise InputError(
            f"{name} is the share of cases in the population, between 0 and 1, but {prevalence:g} was given"
        )


def two_values(y: Float[ndarray, " n"], trait: str, *, who: str) -> tuple[float, float]:
    """Return the two values of a trait, the larger one that of cases.

    Args:
        y: its values.
        trait: its name, for messages.
        who: asks for a trait of two values, for messages.

    Raises:
        InputError: if it has another number of values.
    """
    values = np.unique(y)
    if values.size != 2:
        shown = examples([f"{value:g}" for value in values])
        raise InputError(
            f"{who} needs a trait of two values, cases the larger one, but {quoted(trait)} has {values.size:,} "
            f"({shown}) among the {y.size:,} individuals analysed: leave it out, or list codes of missing values "
            "(missing)"
        )
    return float(values[0]), float(values[1])


@dataclass(frozen=True)
class Liability:
    """How a trait of two values is taken to the scale of its liability.

    Attributes:
        prevalence: share of cases in the population.
        case: the value of cases.
        cases: how many of those who are analysed.
        n: how many are analysed.
    """

    prevalence: float
    case: float
    cases: int
    n: int

    @classmethod
    def of(cls, y: Float[ndarray, " n"], trait: str, prevalence: float) -> "Liability":
        """Return the liability of a trait.

        Args:
            y: its values, of two kinds.
            trait: its name, for messages.
            prevalence: share of cases in the population.

        Raises:
            InputError: if the prevalence is not between 0 and 1, or the trait not of two values.
        """
        check_prevalence(prevalence)
        _, case = two_values(y, trait, who="a prevalence")
        return cls(float(prevalence), case, int((y == case).sum()), int(y.size))

    @property
    def share(self) -> float:
        """Share of cases among those who are analysed."""
        return self.cases / self.n

    @property
    def factor(self) -> float:
        """What h2 of the two values is to be multiplied by."""
        return liability_factor(self.prevalence, self.share)

    def record(self) -> dict[str, Any]:
        """Return all numbers, for a file."""
        return asdict(self) | {"share": self.share, "factor": self.factor}
