import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.cohort.columns import trait_words, words_of_traits
from bayeslmm.kinship.kinship import Kinship

RECORDS = """IID A B age group
p0 1 2 30 x
p1 2 NA 31 y
p2 NA 4 32 x
p3 4.5 1 NA y
p4 5 6 34 x
p5 NA NA 35 y
p6 2 3 36 y
p7 1 5 30 x
p8 3 3 41 y
p9 0 1 29 x
"""


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
    assert_array_equal(cohort.X[0], np.ones((6, 1)))


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
    both = cohorts[0].with_covariates(["PC1"], np.arange(6.0)[:, None] ** 2)
    assert cohorts[0].X[0] is cohorts[0].X[1]
    assert both.X[0] is both.X[1]
    assert both.uniform
    assert both.covariates == (("intercept", "PC1"),) * 2
    assert both.coords["covariate"] == ["intercept", "PC1"]
    spectrum = bl.decompose(both.K)
    assert_allclose(spectrum.U @ spectrum.rotate(both.Y, both.X).X, both.X[0], atol=1e-12)


def test_text_covariates_are_categories_and_codes_on_request(write, kinship):
    text = "IID x sex farm\na 1 1 n\nb 2 2 s\nc 5 1 s\nd 1 2 w\ne 2 1 n\nf 3 2 w\ng 4 1 n\nh 2 2 NA\n"
    pheno = table(write, "p.txt", text)
    (cohort,) = bl.align(kinship, bl.measure(pheno, ["x"], covariates=["sex", "farm"]), normalised=True)
    assert cohort.covariates == (("intercept", "sex", "farm[s]", "farm[w]"),)
    assert_array_equal(cohort.X[0][:, 1], [1, 2, 1, 2, 1, 2, 1])
    assert_array_equal(cohort.X[0][:, 2], [0, 1, 1, 0, 0, 0, 0])
    coded = bl.measure(pheno, ["x"], covariates=["sex"], categorical=["sex"], intercept=False)
    (cohort,) = bl.align(kinship, coded, normalised=True)
    assert cohort.covariates == (("sex[2]",),)


def test_centring_comes_before_normalising(write, kinship):
    (cohort,) = bl.align(kinship, bl.measure(table(write, "p.txt", PHENO), ["x"]), centred=True, normalised=True)
    assert_allclose(cohort.K.sum(axis=0), 0, atol=1e-12)
    assert_allclose(np.diag(cohort.K).mean(), 1)


def test_a_kinship_off_scale_is_warned_about(write, kinship):
    people = bl.measure(table(write, "p.txt", PHENO), ["x"])
    scaled = Kinship(kinship.ids, kinship.K * 0.36, "K")
    with pytest.warns(InputWarning, match=r"the mean diagonal of K is 0\.\d+, not near 1, .* or divide K by its mean"):
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
    assert "trait 'x' is 7 for all 6 individuals: it has no variation" in refused(
        kinship, bl.measure(table(write, "p.txt", text), ["x"])
    )


def test_a_trait_made_of_covariates_is_refused(write, kinship):
    text = "IID x v\n" + "".join(f"{i} {3 * j + 1} {j}\n" for j, i in enumerate("abcdef"))
    people = bl.measure(table(write, "p.txt", text), ["x"], covariates=["v"])
    assert "trait 'x' is a combination of the covariates" in refused(kinship, people)


def test_too_few_people_are_refused(write, kinship):
    people = bl.measure(table(write, "p.txt", "IID x v\na 1 2\nb 3 1\nc 2 2\n"), ["x"], covariates=["v"])
    message = refused(kinship, people)
    assert "3 individuals are left for 2 covariates (intercept, v), but at least 4 are needed" in message


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
    with pytest.raises(InputError, match="categorical names farm"):
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


@pytest.mark.parametrize("n", [2, 9, 10, 11, 60, 101, 1000])
def test_many_traits_get_the_words_of_each(n):
    """What is looked at closely is a part of them: heavy tails, ties and stray values at all distances among them."""
    rng = np.random.default_rng(n)
    makers = [
        rng.standard_normal, lambda n: rng.standard_t(2, n), lambda n: rng.poisson(0.05, n), lambda n: np.full(n, 3.0),
        lambda n: rng.binomial(2, 0.3, n), lambda n: rng.binomial(1, 0.01, n), lambda n: np.full(n, np.nan),
        lambda n: np.exp(3 * rng.standard_normal(n)), lambda n: np.round(rng.standard_normal(n)) * 9,
        lambda n: 1e300 * rng.standard_normal(n), lambda n: 1e8 + rng.standard_normal(n),
    ]  # fmt: skip
    columns = [make(n) for make in makers for _ in range(20)]
    for sds in np.linspace(5, 60, 200):  # one value ever farther away, and some missing
        y = rng.standard_normal(n)
        y[: n // 3 * int(rng.integers(2))] = np.nan
        y[-1] = rng.choice([-1, 1]) * sds
        columns.append(y)
    Y = np.column_stack(columns).astype(float)
    expected = {j: words for j, y in enumerate(Y.T) if (words := trait_words(y))}
    assert words_of_traits(Y) == expected
    assert len(expected) > 20 or n < 10


def test_a_code_that_stands_nowhere_gets_a_word(write):
    table = bl.read_table(write("p.txt", "IID x v\na 1 -9.0\nb 2 3\nc 5 4\n"), missing=["-9", "-99"])
    with pytest.warns(InputWarning, match=r"the missing code '-99' does not occur in the columns used of .*p.txt"):
        bl.measure(table, ["x"], covariates=["v"])


def test_ids_that_nearly_match_get_a_word(write, kinship):
    people = bl.measure(table(write, "p.txt", PHENO.replace("b 2", "B 2").replace("a 1", "a.0 1")), ["x"])
    with pytest.warns(InputWarning, match=r"1 ids of .* are in K but for another case, zeros or .0 \(B for b\)"):
        list(bl.align(kinship, people, normalised=True))
    with pytest.raises(InputError, match=r"individuals are matched by IID, .*; 2 ids of .* \(A for a, B for b\)"):
        list(bl.align(kinship, bl.measure(table(write, "p.txt", "IID x\nA 1\nB 2\nzz 4\n"), ["x"])))


def test_covariates_of_ids_that_nearly_match_get_a_word(write):
    covar = table(write, "c.txt", "IID age\nA 1\nb 5\nc 3\n")
    with pytest.warns(InputWarning, match=r"1 ids of .*p.txt have no row in .*c.txt but for .* \(a for A\)"):
        bl.measure(table(write, "p.txt", "IID x\na 1\nb 2\nc 4\n"), ["x"], covariate_table=covar)


def test_levels_that_may_be_one_get_a_word(write):
    pheno = table(write, "p.txt", "IID x s\na 1 M\nb 2 m\nc 4 F\n")
    with pytest.warns(InputWarning, match=r"levels of 's' are apart that may be one: M and m"):
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


@pytest.fixture
def of_ten(rng):
    n = 10
    W = rng.standard_normal((n, 30))
    K = W @ W.T
    return Kinship(tuple(f"p{i}" for i in reversed(range(n))), K / np.trace(K) * n, "K")


@pytest.fixture
def measured(write):
    def measure(**options):
        return bl.measure(bl.read_table(write("pheno.txt", RECORDS)), ["A", "B"], **options)

    return measure


def test_everybody_with_a_trait_is_kept_in_the_order_of_k(of_ten, measured):
    cohort = bl.align_jointly(of_ten, measured())
    assert cohort.ids == ("p9", "p8", "p7", "p6", "p4", "p3", "p2", "p1", "p0")
    assert cohort.missing.sum(axis=0).tolist() == [1, 1]
    assert cohort.missing[6].tolist() == [True, False]
    assert [(drop.reason, drop.count) for drop in cohort.dropped] == [("without a value of any of A, B", 1)]
    rows = [list(of_ten.ids).index(name) for name in cohort.ids]
    assert_allclose(cohort.K, of_ten.K[np.ix_(rows, rows)])
    assert_allclose(cohort.X[0][:, 0], [1, 1, 1, 1, 1, 1, 0, 1, 1])
    assert cohort.coords["coefficient"] == ["A:intercept", "B:intercept"]
    assert cohort.coords["missing_value"] == ["A:p2", "B:p1"]


def test_complete_only_drops_and_says_so(of_ten, measured):
    cohort = bl.align_jointly(of_ten, measured(), complete_only=True)
    assert len(cohort.ids) == 7
    assert not cohort.missing.any()
    assert ("without all of A, B (1 have A, 1 have B)", 2) in [(drop.reason, drop.count) for drop in cohort.dropped]


def test_each_trait_has_its_own_covariates(of_ten, measured):
    """A value whose covariate is missing is not used, and counted; the other trait of that person is."""
    measurements = measured(covariates=["age", "group"])
    cohort = bl.align_jointly(of_ten, measurements, covariates_of={"A": ["age"], "B": ["group"]})
    assert cohort.covariates == (("intercept", "age"), ("intercept", "group[y]"))
    p3 = cohort.ids.index("p3")
    assert cohort.missing[p3].tolist() == [True, False]
    assert cohort.X[0][p3].tolist() == [0, 0]
    assert cohort.X[1][p3].tolist() == [1, 1]
    reasons = {drop.reason: drop.examples for drop in cohort.dropped}
    assert reasons["values of A without a value of the covariate age"] == ("p3",)


def test_a_trait_without_covariates_keeps_people_who_have_none(of_ten, write):
    table = write("covar.txt", "IID age\n" + "".join(f"p{i} {20 + i * i}\n" for i in range(10) if i != 3))
    measurements = bl.measure(
        bl.read_table(write("pheno.txt", RECORDS)), ["A", "B"], covariate_table=bl.read_table(table)
    )
    cohort = bl.align_jointly(of_ten, measurements, covariates_of={"B": []})
    p3 = cohort.ids.index("p3")
    assert cohort.missing[p3].tolist() == [True, False]
    reasons = {drop.reason: drop.examples for drop in cohort.dropped}
    assert reasons["values of A without a row in the covariate file"] == ("p3",)


def test_a_trait_that_nobody_has_is_named(of_ten, write):
    table = RECORDS.replace("age", "age2")
    lines = [line.split() for line in table.splitlines()]
    text = "\n".join(" ".join([*line, "Z" if i == 0 else "NA"]) for i, line in enumerate(lines)) + "\n"
    measurements = bl.measure(bl.read_table(write("pheno.txt", text)), ["A", "Z"])
    with pytest.raises(bl.InputError, match="nobody is left with a value of Z"):
        bl.align_jointly(of_ten, measurements)


def test_components_are_added_where_the_trait_is(of_ten, measured):
    cohort = bl.align_jointly(of_ten, measured())
    wider = cohort.with_covariates(["PC1"], np.arange(1.0, 10)[:, None])
    assert wider.covariates == (("intercept", "PC1"), ("intercept", "PC1"))
    assert wider.X[0][6].tolist() == [0, 0]
    assert wider.X[1][6].tolist() == [1, 7]


def test_rotated_missing_values_have_a_column_each(of_ten, measured):
    cohort = bl.align_jointly(of_ten, measured())
    spectrum = bl.decompose(cohort.K)
    data = spectrum.rotate_jointly(cohort.Y, cohort.X)
    assert_allclose((spectrum.U @ data.E[0])[:, 0], np.arange(9) == 6, atol=1e-12)
    assert_allclose(spectrum.U @ data.Y, np.nan_to_num(cohort.Y), atol=1e-12)
    for X, E in zip(data.X, data.E, strict=True):
        assert_allclose(E.T @ X, 0, atol=1e-12)
    swapped = data.take([1, 0])
    assert_allclose(swapped.Y, data.Y[:, ::-1])
    assert swapped.E[0] is data.E[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariates_of": {"C": []}}, "covariates are given for C, which is not among the traits A, B"),
        ({"covariates_of": {"A": ["sex"]}}, "covariate sex of A is not among those measured"),
    ],
)
def test_what_does_not_fit_is_refused(of_ten, measured, options, message):
    with pytest.raises(bl.InputError, match=message):
        bl.align_jointly(of_ten, measured(), **options)


def test_one_trait_is_refused(of_ten, write):
    measurements = bl.measure(bl.read_table(write("pheno.txt", RECORDS)), ["A"])
    with pytest.raises(bl.InputError, match="two or more traits are needed for a correlation, but A was given alone"):
        bl.align_jointly(of_ten, measurements)


def test_rotation_refuses_what_cannot_be(of_ten, measured):
    cohort = bl.align_jointly(of_ten, measured())
    spectrum = bl.decompose(cohort.K)
    with pytest.raises(bl.InputError, match="row 3 of Y lacks all traits"):
        spectrum.rotate_jointly(np.where(np.arange(9)[:, None] == 2, np.nan, cohort.Y), cohort.X)
    with pytest.raises(bl.InputError, match="each of the 2 traits needs its covariates, but 1 matrices were given"):
        spectrum.rotate_jointly(cohort.Y, cohort.X[:1])
    with pytest.raises(bl.InputError, match="the traits have different covariates: rotate them jointly"):
        spectrum.rotate(np.nan_to_num(cohort.Y), cohort.X)
    with pytest.raises(bl.InputError, match="X must hold finite numbers only"):
        spectrum.rotate_jointly(cohort.Y, [np.full((9, 1), np.nan), cohort.X[1]])
