import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.cohort.measurements import trait_words
from bayeslmm.kinship.kinship import Kinship


@pytest.fixture
def kinship(rng):
    A = rng.standard_normal((8, 30))
    return Kinship(tuple("abcdefgh"), A @ A.T / 30, "K")


def table(write, name, text):
    return bl.read_table(write(name, text))


PHENO = "IID x y\nh 8 1\nb 2 2\na 1 NA\nc 3 4\nd 4 5\nz 9 9\ne NA 7\nf 6 1\n"


def test_rows_are_matched_by_id(write, kinship):
    (cohort,) = bl.align(kinship, bl.measure(table(write, "p.txt", PHENO), ["x"]), normalised=True)
    assert cohort.ids == ("a", "b", "c", "d", "f", "h")
    assert_array_equal(cohort.Y[:, 0], [1, 2, 3, 4, 6, 8])
    rows = [0, 1, 2, 3, 5, 7]
    K = kinship.K[np.ix_(rows, rows)]
    assert_allclose(cohort.K, K / np.diag(K).mean())
    assert_array_equal(cohort.X, np.ones((6, 1)))


def test_every_drop_is_counted_with_examples(write, kinship):
    covar = table(write, "c.txt", "IID age\na 1\nb 5\nc 3\nd 1\nf NA\ne 3\nh 2\n")
    people = bl.measure(table(write, "p.txt", PHENO), ["x"], covariate_table=covar)
    (cohort,) = bl.align(kinship, people, normalised=True)
    assert cohort.ids == ("a", "b", "c", "d", "h")
    told = [(drop.reason, drop.count, drop.examples) for drop in cohort.dropped]
    assert told[0] == (f"in K but not in {people.source}", 1, ("g",))
    assert told[1][1:] == (1, ("z",))
    assert told[2:] == [("without a value of x", 1, ("e",)), ("without a value of the covariate age", 1, ("f",))]
    # Nobody is lost from the count: 8 in K, 3 of them dropped.
    assert len(kinship.ids) == len(cohort.ids) + sum(drop.count for drop in cohort.dropped) - 1


def test_people_without_a_covariate_row_are_counted(write, kinship):
    covar = table(write, "c.txt", "IID age\na 1\nb 5\nc 3\nd 1\n")
    people = bl.measure(table(write, "p.txt", PHENO), ["x"], covariate_table=covar)
    (cohort,) = bl.align(kinship, people, normalised=True)
    assert ("without a row in the covariate file", 2, ("f", "h")) in [
        (drop.reason, drop.count, drop.examples) for drop in cohort.dropped
    ]


def test_traits_on_the_same_people_share_a_cohort(write, kinship):
    text = "IID x y z\na 1 2 NA\nb 2 1 NA\nc 5 3 1\nd 1 2 2\ne 2 3 5\nf 3 1 2\n"
    cohorts = list(bl.align(kinship, bl.measure(table(write, "p.txt", text), ["x", "z", "y"]), normalised=True))
    assert [cohort.traits for cohort in cohorts] == [("x", "y"), ("z",)]
    assert [len(cohort.ids) for cohort in cohorts] == [6, 4]


def test_text_covariates_are_categories_and_codes_on_request(write, kinship):
    text = "IID x sex farm\na 1 1 n\nb 2 2 s\nc 5 1 s\nd 1 2 w\ne 2 1 n\nf 3 2 w\ng 4 1 n\nh 2 2 NA\n"
    pheno = table(write, "p.txt", text)
    (cohort,) = bl.align(kinship, bl.measure(pheno, ["x"], covariates=["sex", "farm"]), normalised=True)
    assert cohort.covariates == ("intercept", "sex", "farm[s]", "farm[w]")
    assert_array_equal(cohort.X[:, 1], [1, 2, 1, 2, 1, 2, 1])
    assert_array_equal(cohort.X[:, 2], [0, 1, 1, 0, 0, 0, 0])
    coded = bl.measure(pheno, ["x"], covariates=["sex"], categorical=["sex"], intercept=False)
    (cohort,) = bl.align(kinship, coded, normalised=True)
    assert cohort.covariates == ("sex[2]",)


def test_centring_comes_before_normalising(write, kinship):
    (cohort,) = bl.align(kinship, bl.measure(table(write, "p.txt", PHENO), ["x"]), centred=True, normalised=True)
    assert_allclose(cohort.K.sum(axis=0), 0, atol=1e-12)
    assert_allclose(np.diag(cohort.K).mean(), 1)


def test_a_kinship_off_scale_is_warned_about(write, kinship):
    people = bl.measure(table(write, "p.txt", PHENO), ["x"])
    scaled = Kinship(kinship.ids, kinship.K * 0.36, "K")
    with pytest.warns(InputWarning, match=r"the mean diagonal of K is 0\.\d+, not near 1, .* or use --normalise"):
        list(bl.align(scaled, people))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(bl.align(Kinship(kinship.ids, kinship.K / np.diag(kinship.K).mean(), "K"), people, normalised=True))


def test_missing_code_taken_as_value_is_warned_about(write):
    with pytest.warns(InputWarning, match="-9 in column 'v' looks like a missing code but is taken as a value"):
        bl.measure(table(write, "p.txt", "IID x v\na 1 170\nb 2 -9\nc 3 165\nd 5 180\n"), ["x"], covariates=["v"])


def refused(kinship, people):
    with pytest.raises(InputError) as caught:
        list(bl.align(kinship, people, normalised=True))
    return str(caught.value)


def test_ids_that_never_match_are_told_with_examples(write, kinship):
    message = refused(kinship, bl.measure(table(write, "p.txt", "IID x\n1_a 1\n1_b 2\n1_c 3\n"), ["x"]))
    assert "no IID of" in message
    assert "(such as 1_a, 1_b, 1_c) is in K (such as a, b, c and 5 more)" in message


def test_a_trait_without_variation_is_refused(write, kinship):
    text = "IID x\n" + "".join(f"{i} 7\n" for i in "abcdef")
    assert "trait 'x' is 7 for all 6 people: it has no variation" in refused(
        kinship, bl.measure(table(write, "p.txt", text), ["x"])
    )


def test_a_trait_made_of_covariates_is_refused(write, kinship):
    text = "IID x v\n" + "".join(f"{i} {3 * j + 1} {j}\n" for j, i in enumerate("abcdef"))
    people = bl.measure(table(write, "p.txt", text), ["x"], covariates=["v"])
    assert "trait 'x' is a combination of the covariates" in refused(kinship, people)


def test_too_few_people_are_refused(write, kinship):
    people = bl.measure(table(write, "p.txt", "IID x v\na 1 2\nb 3 1\nc 2 2\n"), ["x"], covariates=["v"])
    message = refused(kinship, people)
    assert "3 people are left for 2 covariates (intercept, v), but at least 4 are needed" in message


def test_nobody_left_is_told_with_the_drops(write, kinship):
    people = bl.measure(table(write, "p.txt", "IID x v\na 1 NA\nb NA 1\n"), ["x"], covariates=["v"])
    assert "nobody is left to analyse" in refused(kinship, people)


def test_collinear_covariates_are_named(write, kinship):
    text = "IID x v w\n" + "".join(f"{i} {j**2} {j} {2 * j + 1}\n" for j, i in enumerate("abcdefgh"))
    people = bl.measure(table(write, "p.txt", text), ["x"], covariates=["v", "w"])
    assert "is a combination of" in refused(kinship, people)


def test_covariates_that_say_nothing_or_share_a_name_are_refused(write, kinship):
    text = "IID x farm PC1\n" + "".join(f"{i} {j**2} n {j % 3}\n" for j, i in enumerate("abcdefgh"))
    people = bl.measure(table(write, "p.txt", text), ["x"], covariates=["farm"])
    assert "the covariate farm is 'n' for everybody analysed: leave it out" in refused(kinship, people)
    (cohort,) = bl.align(kinship, bl.measure(table(write, "p.txt", text), ["x"], covariates=["PC1"]), normalised=True)
    with pytest.raises(InputError, match=r"covariates must be unique, but .* \(PC1\)"):
        cohort.with_covariates(["PC1"], np.arange(8.0)[:, None] ** 3)


def test_columns_are_checked_before_any_kinship(write):
    pheno = table(write, "p.txt", PHENO)
    with pytest.raises(InputError, match="one or more different traits"):
        bl.measure(pheno, ["x", "x"])
    with pytest.raises(InputError, match="x cannot be a trait and a covariate at once"):
        bl.measure(pheno, ["x"], covariates=["x"])
    with pytest.raises(InputError, match="--categorical names farm"):
        bl.measure(pheno, ["x"], covariates=["y"], categorical=["farm"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([170, -9, 165, 180], "is -9 in 1 rows"),
        ([-9.0, -8.5, -10.1, 3], "is -9 in 1 rows"),
        ([0, 1, 1, 0, np.nan], "has two values only, 0 and 1"),
        ([1, 2, 2, 1], "has two values only, 1 and 2"),
        ([1, 2, 2, 1, 0], "is 0 a code of missing values beside 1 and 2"),
        ([*np.linspace(160, 190, 60), 9999], "has 1 values that lie more than 20 standard deviations .* farthest 9999"),
    ],
)
def test_traits_that_may_not_be_what_they_seem_get_a_word(values, words):
    (text,) = trait_words(np.array(values, dtype=float))
    assert re.search(words, text)


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_traits_get_no_word(seed):
    rng = np.random.default_rng(seed)
    for values in (
        rng.standard_normal(5000),
        rng.standard_t(5, 5000),
        rng.exponential(size=5000),
        rng.poisson(0.5, 5000).astype(float),
        np.exp(0.5 * rng.standard_normal(5000)),
        rng.binomial(2, 0.3, 5000) + 1.0,
        np.full(20, 3.0),
        np.full(20, np.nan),
        np.array([]),
        rng.standard_normal(5),
    ):
        assert trait_words(values) == []


def test_a_code_that_stands_nowhere_gets_a_word(write):
    table = bl.read_table(write("p.txt", "IID x v\na 1 -9.0\nb 2 3\nc 5 4\n"), missing=["-9", "-99"])
    with pytest.warns(InputWarning, match=r"the missing code '-99' stands nowhere in the columns used of .*p.txt"):
        bl.measure(table, ["x"], covariates=["v"])


def test_ids_that_nearly_match_get_a_word(write, kinship):
    people = bl.measure(table(write, "p.txt", PHENO.replace("b 2", "B 2").replace("a 1", "a.0 1")), ["x"])
    with pytest.warns(InputWarning, match=r"1 ids of .* are in K but for another case, zeros or .0 \(B for b\)"):
        list(bl.align(kinship, people, normalised=True))
    with pytest.raises(InputError, match=r"people are matched by IID, .*; 2 ids of .* \(A for a, B for b\)"):
        list(bl.align(kinship, bl.measure(table(write, "p.txt", "IID x\nA 1\nB 2\nzz 4\n"), ["x"])))


def test_covariates_of_ids_that_nearly_match_get_a_word(write):
    covar = table(write, "c.txt", "IID age\nA 1\nb 5\nc 3\n")
    with pytest.warns(InputWarning, match=r"1 ids of .*p.txt have no row in .*c.txt but for .* \(a for A\)"):
        bl.measure(table(write, "p.txt", "IID x\na 1\nb 2\nc 4\n"), ["x"], covariate_table=covar)


def test_levels_that_may_be_one_get_a_word(write):
    pheno = table(write, "p.txt", "IID x s\na 1 M\nb 2 m\nc 4 F\n")
    with pytest.warns(InputWarning, match=r"levels of the covariate 's' are apart that may be one: M and m"):
        bl.measure(pheno, ["x"], covariates=["s"])


def test_a_stray_word_in_a_covariate_is_refused_unless_it_is_categorical(write, kinship):
    text = "IID x age\n" + "".join(f"{i} {j**2} {'XNA' if j == 3 else 20 + j}\n" for j, i in enumerate("abcdefgh"))
    pheno = table(write, "p.txt", text)
    with pytest.raises(InputError, match=r"line 5 \(id d\): column 'age' holds numbers, but 1 of 8 values"):
        bl.measure(pheno, ["x"], covariates=["age"])
    assert bl.measure(pheno, ["x"], covariates=["age"], categorical=["age"]).covariates["age"].dtype.kind == "U"


def test_half_of_the_relationship_is_named(write, kinship):
    people = bl.measure(table(write, "p.txt", PHENO), ["x"])
    half = Kinship(kinship.ids, kinship.K / (2 * np.diag(kinship.K)[[0, 1, 2, 3, 5, 7]].mean()), "K")
    with pytest.warns(InputWarning, match=r"mean diagonal of K is 0.5, as that of kinship \(coancestry\) coefficients"):
        list(bl.align(half, people))


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_traits_and_covariates_of_any_unit_are_aligned(write, kinship, unit):
    values = [0.3, -0.9, 0.5, 0.1, -0.2, 0.8, 0.4, -0.6]
    text = "IID x v\n" + "".join(
        f"{i} {y * unit!r} {j / 8 * unit!r}\n" for j, (i, y) in enumerate(zip("abcdefgh", values, strict=True))
    )
    pheno = table(write, "p.txt", text)
    (cohort,) = bl.align(kinship, bl.measure(pheno, ["x"], covariates=["v"]), normalised=True)
    assert_allclose(cohort.Y[:, 0] / unit, values, rtol=1e-12)


def test_numbers_whose_sum_may_be_none_are_refused(write):
    with pytest.raises(InputError, match=r"line 3 \(id b\): column 'x' must be a number or NA, but '1e308'"):
        bl.measure(table(write, "p.txt", "IID x\na 1\nb 1e308\n"), ["x"])
