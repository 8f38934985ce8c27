import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import BSpline

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.formula import evaluate, read_formula
from bayeslmm.cohort.measurements import design_matrix
from conftest import GRYPHON


@pytest.fixture
def columns(rng):
    n = 40
    return {
        "sex": np.array(["m", "f"])[rng.integers(0, 2, n)],
        "year": rng.choice([1968.0, 1970.0, 1971.0], n),
        "age": rng.uniform(1, 9, n),
        "birth weight": rng.normal(3, 1, n),
    }


def design(text, columns, **options):
    formula = read_formula(text)
    used = {name: columns[name] for name in formula.columns(columns, where="data")}
    n = len(next(iter(columns.values())))
    return formula.design(used, [f"i{k}" for k in range(n)], levels=options.get("levels", {}))


def test_categories_and_interactions_are_products_of_indicators(columns):
    names, X = design("~ sex * age + C(year)", columns)
    assert names == ["intercept", "sex[m]", "age", "C(year)[1970]", "C(year)[1971]", "sex[m]:age"]
    male, age, year = columns["sex"] == "m", columns["age"], columns["year"]
    assert_array_equal(X, np.column_stack([np.ones(40), male, age, year == 1970, year == 1971, male * age]))


@pytest.mark.parametrize("text", ["~ 0 + sex", "~ sex - 1", "~ sex + 0"])
def test_without_an_intercept_all_levels_have_a_column(columns, text):
    names, X = design(text, columns)
    assert names == ["sex[f]", "sex[m]"]
    assert_array_equal(X.sum(axis=1), 1)


def test_the_first_level_is_that_which_others_are_compared_with(columns):
    assert design("~ sex", columns, levels={"sex": ("x", "m", "f")})[0] == ["intercept", "sex[f]"]
    assert design("~ C(sex, contr.treatment('m'))", columns)[0][1].endswith("[f]")


def test_splines_are_those_of_scipy_with_knots_at_quantiles(columns):
    x = columns["age"]
    names, X = design("~ bs(age, df=5)", columns)
    assert names == ["intercept", *(f"bs(age, df=5)[{k}]" for k in range(1, 6))]
    inner = np.quantile(x, [1 / 3, 2 / 3])
    knots = np.concatenate([[x.min()] * 4, inner, [x.max()] * 4])
    # The last basis function of scipy is not closed on the right.
    basis = BSpline.design_matrix(np.minimum(x, np.nextafter(x.max(), 0)), knots, 3).toarray()
    assert_allclose(X[:, 1:], basis[:, 1:], atol=1e-10)


def test_polynomials_are_orthonormal_and_span_powers(columns):
    _, X = design("~ poly(age, 3)", columns)
    assert_allclose(X[:, 1:].T @ X[:, 1:], np.eye(3), atol=1e-10)
    powers = np.vander(columns["age"], 4)
    assert_allclose(X @ np.linalg.lstsq(X, powers, rcond=None)[0], powers, rtol=1e-8)


def test_columns_are_found_inside_functions_and_backticks(columns):
    formula = read_formula("~ bs(age, df=4) + poly(`birth weight`, 2) + scale(year) + sex:I(age ** 2)")
    assert formula.columns(columns, where="data") == ["age", "birth weight", "year", "sex"]
    assert read_formula("BWT + log(TARSUS) ~ 1").traits == ("BWT", "log(TARSUS)")


def test_the_caller_is_not_seen(columns):
    age = hidden = columns["age"] * 0  # noqa: F841
    assert_allclose(design("~ age", columns)[1][:, 1], columns["age"])
    with pytest.raises(InputError, match=r"no column \(or function\) 'hidden'"):
        design("~ hidden", columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("~ sexx", r"data: formula '~ sexx': there is no column \(or function\) 'sexx'; the columns are sex, year"),
        ("~ sex +", r"Operator `\+` has"),
        ("~ sex ~ age", "Operator `~` is incorrectly used"),
        ("sex", "it must have one right side after a ~"),
        ("~ sex | age", "it must have one right side after a ~"),
        ("~ .", "a dot stands for no columns"),
        ("y:z ~ sex", "y:z cannot be a trait"),
        ("~ bs(age, df=2)", "`df` must be greater than 3"),
        ("~ log(age - 5)", r"log\(age - 5\) must be a finite number, but is not for \d+ of the 40"),
        ("~ lag(age)", r"is not for 1 of the 40 individuals analysed \(i0\)"),
        ("~ 0", "leaves no fixed effect"),
        ("~ log(sex)", "cannot perform"),
        ("~ age[:3]", "Length of values"),
    ],
)
def test_what_is_no_formula_is_one_line(columns, text, message):
    with pytest.raises(InputError, match=message) as caught:
        design(text, columns)
    assert "\n" not in str(caught.value)


def test_expressions_of_traits_are_numbers(columns):
    assert_allclose(evaluate("log(age)", {"age": columns["age"]}, where="log(age) ~ 1"), np.log(columns["age"]))
    with pytest.raises(InputError, match="must be one number for each individual"):
        evaluate("C(age)", {"age": columns["age"]}, where="C(age) ~ 1")


TABLE = (
    "IID x age sex unused\na 1 2 m NA\nb 2 NA f 1\nc 5 3 m 1\nd 1 4 f 1\ne 2 6 NA 1\nf 3 1 f 1\ng 4 8 m 1\nh 2 7 f 1\n"
)


def test_missing_values_drop_rows_that_the_formula_uses(write):
    people = bl.measure(bl.read_table(write("p.txt", TABLE)), ["x"], formula="~ sex * age")
    kinship = bl.Kinship(tuple("abcdefgh"), np.eye(8), "K")
    (cohort,) = bl.align(kinship, people)
    assert cohort.ids == tuple("acdfgh")  # a lacks a column that is not used
    assert cohort.covariates == (("intercept", "sex[m]", "age", "sex[m]:age"),)
    told = [(drop.reason, drop.examples) for drop in cohort.dropped]
    assert told == [("without a value of the covariate sex", ("e",)), ("without a value of the covariate age", ("b",))]


def test_bases_are_of_the_rows_analysed(write, rng):
    text = "".join(f"i{k} {rng.normal():.5f} {'NA' if k == 7 else rng.normal():.5}\n" for k in range(30))
    people = bl.measure(bl.read_table(write("p.txt", f"IID y z\n{text}")), ["y"], formula="~ poly(z, 2)")
    (cohort,) = bl.align(bl.Kinship(tuple(f"i{k}" for k in range(20)), np.eye(20), "K"), people)
    assert len(cohort.ids) == 19
    assert_allclose(cohort.X[0].T @ cohort.X[0], np.diag([19, 1, 1]), atol=1e-10)


def test_columns_come_from_both_tables(write):
    covar = bl.read_table(write("c.txt", "IID height\na 1\nb 2\nc 1\nd 5\n"))
    pheno = bl.read_table(write("p.txt", TABLE))
    people = bl.measure(pheno, ["x"], covariate_table=covar, formula="~ height + sex")
    assert [name for name in people.covariates] == ["height", "sex"]
    assert people.absent.tolist() == [False] * 4 + [True] * 4
    assert not bl.measure(pheno, ["x"], covariate_table=covar, formula="~ sex").absent.any()
    twice = bl.read_table(write("d.txt", "IID sex\na m\n"))
    with pytest.raises(InputError, match=r"both .*d.txt and .*p.txt have a column 'sex': rename one"):
        bl.measure(pheno, ["x"], covariate_table=twice, formula="~ sex")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formula": "~ sex", "covariates": ["age"]}, "are given beside the formula"),
        ({"formula": "x ~ sex"}, "so it must begin with ~"),
        ({"formula": "~ x"}, "cannot be a trait and a covariate at once"),
        ({"formula": "~ sex", "categorical": ["age"]}, "categorical names age, not among the covariates"),
    ],
)
def test_what_does_not_go_with_a_formula_is_refused(write, options, message):
    with pytest.raises(InputError, match=message):
        bl.measure(bl.read_table(write("p.txt", TABLE)), ["x"], **options)


def test_a_category_that_all_share_and_collinear_columns_are_named(write):
    pheno = bl.read_table(write("p.txt", TABLE.replace(" f ", " m ")))
    kinship = bl.Kinship(tuple("abcdefgh"), np.eye(8), "K")
    with pytest.raises(InputError, match="the covariate sex is 'm' for everybody analysed"):
        list(bl.align(kinship, bl.measure(pheno, ["x"], formula="~ sex")))
    with pytest.raises(InputError, match=r"2 \* age|age \* 2|linearly independent"):
        list(bl.align(kinship, bl.measure(pheno, ["x"], formula="~ age + I(age * 2 + 1)")))


def test_a_formula_is_that_of_all_traits():
    folder = GRYPHON
    people = bl.measure(
        bl.read_table(folder / "pheno.tsv"), ["BWT", "TARSUS"], covariate_table=bl.read_table(folder / "covar.tsv"),
        formula="~ C(sex)",
    )  # fmt: skip
    kinship = bl.pedigree_kinship(folder / "pedigree.csv")
    assert bl.align_jointly(kinship, people).covariates == (("intercept", "C(sex)[2]"),) * 2
    with pytest.raises(InputError, match="BWT cannot have its own covariates"):
        bl.align_jointly(kinship, people, covariates_of={"BWT": ["sex"]})


def test_without_a_formula_nothing_has_changed(write):
    people = bl.measure(bl.read_table(write("p.txt", TABLE)), ["x"], covariates=["sex", "age"])
    rows = np.array([0, 2, 3, 5])
    assert design_matrix(people, ["sex", "age"], rows)[0] == ["intercept", "sex[m]", "age"]
