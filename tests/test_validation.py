import json
import runpy
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from conftest import ROOT


@pytest.mark.slow
def test_the_simulated_cohort_has_the_variances_it_says(tmp_path, monkeypatch):
    """At smoke size: files are read, and the trait's variance is that of the truth within sampling error."""
    arguments = ["--out", str(tmp_path), "--people", "400", "--markers", "1200", "--seed", "3"]
    monkeypatch.setattr(sys, "argv", ["source_cohort.py", *arguments])
    runpy.run_path(str(ROOT / "validation" / "source_cohort.py"), run_name="__main__")
    truth = json.loads((tmp_path / "truth.json").read_text())["traits"]
    kinship = bl.genomic_kinship(tmp_path / "cohort")
    assert len(kinship.ids) == 400
    assert_allclose(kinship.mean_diagonal, 1, atol=0.05)
    people = bl.measure(bl.read_table(tmp_path / "pheno.tsv"), list(truth))
    (cohort,) = bl.align(kinship, people)
    for j, (name, values) in enumerate(truth.items()):
        total = values["sigma2_u"] + values["sigma2_e"]
        spread = np.var(values["population_effects"])
        # A variance of 400 correlated values: 4 standard errors of an uncorrelated one, twice over.
        assert_allclose(cohort.Y[:, j].var(), total + spread, rtol=8 * np.sqrt(2 / 400), err_msg=name)
        assert values["h2"] == pytest.approx(values["sigma2_u"] / total)
