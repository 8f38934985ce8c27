import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError
from bayeslmm.estimators.liability import Liability, liability_factor, two_values


@pytest.fixture(scope="module")
def reference(shared):
    return json.loads((shared / "liability" / "reference.json").read_text())


def test_the_factor_is_that_of_the_reference(reference):
    """28 prevalences and shares of cases, by the formula in other code and by bivariate normal liabilities."""
    assert len(reference["table"]) > 20
    for known in reference["table"]:
        factor = liability_factor(known["K"], known["P"])
        assert_allclose(factor, known["factor"], rtol=1e-8)
        assert_allclose(factor, known["factor_numerical"], rtol=1e-8)
        for example in known["examples"]:
            assert_allclose(factor * example["h2_obs"], example["h2_liab"], rtol=1e-8)
            assert_allclose(factor * example["se_obs"], example["se_liab"], rtol=1e-8)


def test_the_factor_is_ldscs(reference):
    known = reference["ldsc_unit_test"]
    assert_allclose(known["h2_obs"] * liability_factor(known["K"], known["P"]), known["h2_liab"], rtol=1e-11)


def test_the_factor_gives_the_printed_tables_of_the_paper(reference):
    """Lee et al. print two decimals, and no share of cases: for each trait one share serves all rows."""
    for trait in reference["lee_2011_tables"]["rows"]:
        least, most = (liability_factor(trait["K"], P) for P in trait["P_compatible"])
        for row in trait["rows"]:
            ends = [np.array([factor * row["h2_obs_adjusted"], factor * row["se_obs"]]) for factor in (least, most)]
            assert (np.min(ends, axis=0) < np.array([row["h2_liab"], row["se_liab"]]) + 0.011).all()
            assert (np.max(ends, axis=0) > np.array([row["h2_liab"], row["se_liab"]]) - 0.011).all()


def test_cases_are_the_larger_of_two_values():
    liability = Liability.of(np.array([1.0, 2.0, 1.0, 1.0]), "y", 0.25)
    assert (liability.case, liability.cases, liability.n, liability.share) == (2.0, 1, 4, 0.25)
    assert_allclose(liability.factor, 0.25 * 0.75 / 0.3177766**2, rtol=1e-6)  # Dempster and Lerner
    assert liability.record()["factor"] == liability.factor
    assert two_values(np.array([-9.0, 3.5]), "y", who="it") == (-9.0, 3.5)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, np.nan])
def test_a_prevalence_is_a_share(prevalence):
    with pytest.raises(InputError, match="prevalence is the share of cases in the population, between 0 and 1"):
        Liability.of(np.array([0.0, 1.0]), "y", prevalence)


def test_other_traits_are_refused_with_what_was_found():
    with pytest.raises(InputError, match=r"'BMI' has 4 \(0, 1, 2 and 1 more\) among the 4 individuals"):
        Liability.of(np.array([0.0, 1.0, 2.0, 3.0]), "BMI", 0.1)
