"""REML as GCTA prints it: the ``.hsq``."""

from pathlib import Path

import numpy as np

from bayeslmm.analyses.conventions import without_constants
from bayeslmm.base.files import replacing
from bayeslmm.estimators.boundary import mixture_p_value
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import fisher, standard_errors
from bayeslmm.estimators.liability import Liability
from bayeslmm.likelihood.rotation import RotatedData


def write_hsq(path: str | Path, estimate: Estimate, data: RotatedData, liability: Liability | None = None) -> None:
    """Write a REML estimate as GCTA's ``.hsq``, in GCTA's convention of the log-likelihood (no constants).

    Average-information standard errors, as GCTA's; NA on the boundary. The p-value is GCTA's: the 50:50 mixture
    of a point mass at 0 and chi2_1. With a liability there is V(G)/Vp_L too, as GCTA's ``--prevalence`` has it.

    Source: Yang et al. (2011), doi:10.1016/j.ajhg.2010.11.011.
    """
    se: dict[str, str] = {}
    if not estimate.boundary:
        errors = standard_errors(estimate, data, kind="average")
        se_total = float(np.sqrt(np.linalg.inv(fisher(estimate, data, kind="average")).sum()))
        numbers = {"V(G)": errors["sigma2_u"], "V(e)": errors["sigma2_e"], "Vp": se_total, "V(G)/Vp": errors["h2"]}
        if liability:
            numbers["V(G)/Vp_L"] = liability.factor * errors["h2"]
        se = {name: _plain(value) for name, value in numbers.items()}
    estimates = {
        "V(G)": estimate.sigma2_u,
        "V(e)": estimate.sigma2_e,
        "Vp": estimate.sigma2_u + estimate.sigma2_e,
        "V(G)/Vp": estimate.h2,
    }
    if liability:
        estimates["V(G)/Vp_L"] = liability.factor * estimate.h2
    lines = ["Source\tVariance\tSE"]
    lines += [f"{name}\t{_plain(value)}\t{se.get(name, 'NA')}" for name, value in estimates.items()]
    lines += [
        f"logL\t{without_constants(estimate, data, estimate.loglik):.3f}",
        f"logL0\t{without_constants(estimate, data, estimate.loglik_null):.3f}",
        f"LRT\t{estimate.likelihood_ratio:.3f}",
        "df\t1",
        f"Pval\t{min(mixture_p_value(estimate.likelihood_ratio), 0.5):.4e}",
        f"n\t{estimate.n}",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _plain(value: float) -> str:
    """Write a number without an exponent: GCTA's six decimals, and more where six digits need more."""
    return f"{value:.{6 if value == 0 else max(6, 5 - int(np.floor(np.log10(abs(value)))))}f}"
