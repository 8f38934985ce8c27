"""Predictions of levels against the equations of Henderson and the reference of the gryphons."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.estimators.components_reml import components_reml
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.dense_covariance import DenseCovariance

COLUMNS = ["effect", "pev", "reliability"]


@pytest.mark.parametrize("way", ["equations", "dense"])
def test_errors_of_predictions_are_the_formula(dense_records, way):
    """var(u_hat - u) = sigma2 K - sigma2^2 K Z'PZ K, with P in the units of the user."""
    records = dense_records()
    data = components(records)
    sigma2 = np.array([0.4, 1.3, 0.0, 0.2, 0.9])
    solver = data.equations if way == "equations" else DenseCovariance(data.y, data.Q, data.parts)
    fit = replace(components_reml(data), sigma2=sigma2, solved=solver.at(sigma2 / data.units))
    V = sum(s * one.covariance() for s, one in zip(sigma2, records.components, strict=False))
    inverse = np.linalg.inv(V + sigma2[-1] * np.eye(data.n))
    VX = inverse @ records.X
    P = inverse - VX @ np.linalg.solve(records.X.T @ VX, VX.T)
    table = bl.effects_table(fit).set_index("component")
    for variance, one in zip(sigma2, records.components, strict=False):
        K, Z = np.eye(len(one.levels)) if one.K is None else one.K, one.Z.toarray()
        found = table.loc[one.name]
        assert found["level"].tolist() == list(one.levels)
        assert_allclose(found["effect"], variance * K @ Z.T @ P @ records.y, rtol=0, atol=1e-9)
        pev = variance * np.diag(K) - variance**2 * np.diag(K @ Z.T @ P @ Z @ K)
        assert_allclose(found["pev"], pev, rtol=0, atol=1e-9)
        if variance == 0:
            assert found["reliability"].isna().all()
            continue
        assert_allclose(found["reliability"], 1 - pev / (variance * np.diag(K)), rtol=0, atol=1e-9)


def test_errors_of_predictions_solve_the_mixed_model_equations(dense_records):
    """They are sigma2_e times the diagonal of the inverse of Henderson's coefficient matrix."""
    records = dense_records()
    fit = replace(components_reml(components(records)))
    inside = [j for j, name in enumerate(fit.names[:-1]) if name not in fit.boundary]
    parts, c = [records.components[j] for j in inside], records.X.shape[1]
    T = np.column_stack([records.X, *(one.Z.toarray() for one in parts)])
    C, at = T.T @ T / fit.sigma2[-1], c
    for one, variance in zip(parts, fit.sigma2[inside], strict=True):
        q = len(one.levels)
        C[at : at + q, at : at + q] += (np.eye(q) if one.K is None else np.linalg.inv(one.K)) / variance
        at += q
    pev = np.concatenate([fit.prediction_errors[one.name] for one in parts])
    assert_allclose(pev, np.diag(np.linalg.inv(C))[c:], rtol=1e-7)


@pytest.mark.parametrize("way", ["equations", "dense"])
@pytest.mark.parametrize(
    ("model", "file"), [("animal", "blup_BWT_sex.tsv"), ("animal+byear+mother", "blup_BWT_sex_animal_byear_mother.tsv")]
)
def test_gryphons_equal_the_reference(gryphon_components, shared, way, model, file):
    """Of levels with records; the reference has them at 10 digits, at its own REML."""
    fit = components_reml(gryphon_components("bwt", model))
    data = fit.data
    if way == "dense":
        dense = DenseCovariance(data.y, data.Q, data.parts)
        fit = replace(fit, solved=dense.at(fit.sigma2 / data.units))
    wanted = pd.read_csv(shared / "gryphon_blup" / file, sep="\t", dtype={"IID": str, "level": str})
    names = {"u_reml": "effect", "blup": "effect", "pev_reml": "pev", "reliability_reml": "reliability"}
    wanted = wanted.rename(columns={"IID": "level", "effect": "component", **names})
    if "component" not in wanted:
        wanted["component"] = "animal"
    table = bl.effects_table(fit).merge(wanted, on=["component", "level"], suffixes=("", "_wanted"), validate="1:1")
    assert len(table) == sum(len(one.levels) for one in data.parts)
    for column in (name for name in COLUMNS if f"{name}_wanted" in table):
        assert_allclose(table[column], table[f"{column}_wanted"], rtol=1e-6, atol=1e-6, err_msg=column)
