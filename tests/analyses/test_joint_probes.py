import warnings

import pytest

from bayeslmm.analyses.joint_probes import largest, warn_of_errors, with_probe_errors
from bayeslmm.analyses.table import Row
from bayeslmm.base.checks import InputWarning
from bayeslmm.likelihood.probe_error import ProbeError

ERRORS = {
    ("A", "h2"): ProbeError(0.018, 0.02, 8, "h2"),
    ("A:B", "rho_u"): ProbeError(0.05, 0.02, 8, "rho_u"),
}


def test_each_number_has_its_own_error():
    rows = [Row("A", "nuts", "h2"), Row("A:B", "nuts", "rho_u"), Row("A", "nuts", "beta[age]")]
    notes = [row.note for row in with_probe_errors(rows, ERRORS)]
    assert notes == [
        "Monte Carlo error of 8 products with K: 0.018 posterior sd of h2 (0.02 was asked for)",
        "Monte Carlo error of 8 products with K: 0.05 posterior sd of rho_u (NOT the 0.02 that was asked for)",
        "",
    ]


def test_an_error_that_is_larger_than_asked_for_is_told():
    assert largest(ERRORS) == ("rho_u of A:B", ERRORS["A:B", "rho_u"])
    with pytest.warns(InputWarning, match=r"rho_u of A:B has a Monte Carlo error of 0\.05 posterior .*, not 0\.02"):
        warn_of_errors(ERRORS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_errors({("A", "h2"): ERRORS["A", "h2"]})
