r"""The same fit as other programs print it: their constants, scales and kinds of standard error.

- bayeslmm: h2 and pve, standard errors as asked for; the log-likelihood of REML is
  :math:`-\frac12 [ (n - c) \log 2\pi + \log|V| + \log|X'V^{-1}X| + y'Py ] + \frac12 \log|X'X|`.
- GEMMA: the same log-likelihood; pve, standard error from the observed information.
- GCTA, ASReml: the log-likelihood without :math:`\log 2\pi` and :math:`\log|X'X|`; h2 on the scale of K as given,
  standard error from the average information.
- LIMIX (``her.estimate``): ML; K scaled so that g has an expected sample variance of 1; the variance of X beta counts
  in the total; no standard error.

Sources: the manuals of GEMMA 0.98 (null model), GCTA (``--reml``) and ASReml 4 (Gilmour et al. 2015); the code of
limix 3.0.4 (``her.estimate``, ``qc.normalise_covariance``). ``tests/analyses/test_conventions.py`` compares with the
printed numbers of GEMMA, ASReml and glimix-core (what LIMIX runs); GCTA's convention is ASReml's by its manual.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import Kind, Parameter, standard_errors
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import OneTrait, whitened

COLUMNS = "program likelihood loglik sigma2_u sigma2_e heritability name se se_kind".split()


def without_constants(estimate: Estimate, data: RotatedData, loglik: float) -> float:
    r"""Return a restricted log-likelihood as GCTA and ASReml print it.

    Args:
        estimate: of `reml`.
        data: its data.
        loglik: in the convention of `likelihood.log_reml`, such as ``estimate.loglik_null``.
    """
    _, log_det_xx = np.linalg.slogdet(data.X.T @ data.X)
    return float(loglik + (estimate.n - estimate.c) / 2 * np.log(2 * np.pi) - log_det_xx / 2)


def conventions(reml: Estimate, ml: Estimate, data: OneTrait, X: Float[ndarray, "n c"]) -> pd.DataFrame:
    """Return a table of one fit in the conventions of GEMMA, GCTA, ASReml and LIMIX, a row each.

    GEMMA and GCTA always fit an intercept: they have no row if X does not hold one.

    Args:
        reml: REML of the data.
        ml: ML of the data.
        data: one trait in the eigenbasis.
        X: covariates, not rotated.

    Returns:
        Columns `COLUMNS`; ``name`` says what the program calls its heritability. No standard error on the boundary.
    """
    white = whitened(data)

    def se(kind: Kind, name: Parameter) -> float:
        return float("nan") if reml.boundary else standard_errors(reml, white, kind=kind)[name]

    bare = without_constants(reml, white.given, reml.loglik)
    common = {"likelihood": "REML", "sigma2_u": reml.sigma2_u, "sigma2_e": reml.sigma2_e}
    h2 = common | {"heritability": reml.h2, "se": se("average", "h2"), "se_kind": "average", "loglik": bare}
    pve = {"heritability": reml.pve, "name": "pve", "se": se("observed", "pve"), "se_kind": "observed"}
    rows: list[dict[str, Any]] = [
        {"program": "GEMMA", "loglik": reml.loglik} | common | pve,
        {"program": "GCTA", "name": "V(G)/Vp"} | h2,
        {"program": "ASReml", "name": "VA/(VA+VR)"} | h2,
        {"program": "LIMIX"} | _limix(ml, white.given.k_scale, X),
    ]
    Q, _ = orthonormal(X)
    intercept = np.allclose(Q @ Q.sum(axis=0), 1.0)
    kept = [row for row in rows if intercept or row["program"] in ("ASReml", "LIMIX")]
    return pd.DataFrame(kept, columns=list(COLUMNS))


def _limix(ml: Estimate, k_scale: float, X: Float[ndarray, "n c"]) -> dict[str, Any]:
    """K is divided by the expected sample variance of g, tr(JKJ) / (n - 1)."""
    sigma2_u = ml.sigma2_u * k_scale * ml.n / (ml.n - 1)
    total = float(np.var(X @ ml.beta)) + sigma2_u + ml.sigma2_e
    return {
        "likelihood": "ML",
        "loglik": ml.loglik,
        "sigma2_u": sigma2_u,
        "sigma2_e": ml.sigma2_e,
        "heritability": sigma2_u / total,
        "name": "h2 with fixed effects in the total",
        "se_kind": "none",
    }
