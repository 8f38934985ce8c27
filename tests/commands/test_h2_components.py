"""`h2` with several components: files in, tables out, against the library and published numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bed_reader import to_bed
from numpy.testing import assert_allclose
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.posterior import weighted as weighted_module
from bayeslmm.posterior.importance import importance

PARAMETERS = [
    *(f"sigma2[{name}]" for name in ("u", "pe", "year", "e")),
    "sigma2_p",
    *(f"share[{name}]" for name in ("u", "pe", "year", "e")),
    "h2",
    "repeatability",
    "pve",
]


@pytest.fixture(scope="module")
def herd(tmp_path_factory):
    """60 animals of 20 litters, 150 records of them in 6 years."""
    folder = tmp_path_factory.mktemp("herd")
    rng = np.random.default_rng(3)
    offspring = [(f"k{i}", f"m{i // 3}", f"d{i // 6}") for i in range(60)]
    parents = sorted({(one, "NA", "NA") for _, dam, sire in offspring for one in (dam, sire)})
    pedigree = pd.DataFrame([*parents, *offspring], columns=["id", "dam", "sire"])
    pedigree.to_csv(folder / "pedigree.csv", index=False)
    who = rng.integers(0, 60, 150)
    family, animal = rng.normal(size=20)[who // 3], rng.normal(size=60)[who]
    year = rng.integers(0, 6, 150)
    age = rng.integers(1, 4, 150)
    y = 5 + 0.5 * age + family + 0.8 * animal + rng.normal(size=6)[year] + rng.normal(size=150)
    rows = {
        "IID": [f"k{i}" for i in who],
        "weight": y.round(3),
        "year": 2000 + year,
        "age": age,
        "constant": 1,
        "row": range(1, 151),
    }
    table = pd.DataFrame(rows)
    table["same"] = "y" + table.year.astype(str)
    table.to_csv(folder / "pheno.tsv", sep="\t", index=False)
    table[["IID", "year"]].to_csv(folder / "years.tsv", sep="\t", index=False)
    return folder


def typed(herd, *more, out, pheno="pheno.tsv", trait="weight"):
    return [
        *("h2", "--pedigree", str(herd / "pedigree.csv"), "--pheno", str(herd / pheno), "--trait", trait),
        *("--covariates", "age", *more, "--out", str(out)),
    ]


@pytest.fixture(scope="module")
def run(herd, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "results"
    assert main(typed(herd, "--repeated", "--random", "year", out=out)) == 0
    return out


def estimates_of(out):
    return pd.read_csv(out / "estimates.tsv", sep="\t").set_index(["method", "parameter"])


@pytest.fixture(scope="module")
def data(herd):
    """The same records, put together in Python."""
    table = pd.read_csv(herd / "pheno.tsv", sep="\t")
    animal = bl.related("u", bl.pedigree_kinship(herd / "pedigree.csv"), [*table.IID])
    effects = (animal, bl.grouped("pe", [*table.IID]), bl.grouped("year", [*table.year]))
    X = np.column_stack([np.ones(150), table.age])
    return bl.components(bl.Records("weight", table.weight.to_numpy(), X, ("intercept", "age"), effects))


def test_reml_is_that_of_the_library(run, data):
    found, fit = estimates_of(run).loc["reml"], bl.components_reml(data)
    assert list(found.index) == [*PARAMETERS, "loglik", "beta[intercept]", "beta[age]"]
    assert_allclose(found.estimate[[f"sigma2[{name}]" for name in fit.names]], fit.sigma2, rtol=1e-8, atol=1e-9)
    assert_allclose(found.estimate["repeatability"], fit.share("u", "pe"), rtol=1e-8)
    assert_allclose(found.se["repeatability"], fit.share_error("u", "pe"), rtol=1e-7)
    assert_allclose(found.estimate["h2"], fit.share("u"), rtol=1e-8, atol=1e-9)
    assert_allclose(found.estimate["pve"], fit.pve("u"), rtol=1e-8, atol=1e-9)
    assert_allclose(found.estimate["loglik"], fit.loglik, rtol=1e-9)
    assert_allclose(found.se["beta[age]"], fit.se_beta[1], rtol=1e-7)


def test_importance_sampling_is_that_of_the_library(run, data):
    found, posterior = estimates_of(run).loc["importance"], importance(data, seed=1)
    assert list(found.index) == [*PARAMETERS, "log_evidence"]
    both = posterior.share("u", "pe")
    assert_allclose(found.estimate["repeatability"], posterior.mean(both), rtol=1e-8)
    assert_allclose(found.loc["repeatability", ["lower", "upper"]].to_list(), posterior.interval(both), rtol=1e-8)
    assert_allclose(found.estimate["log_evidence"], posterior.log_evidence, rtol=1e-9)
    assert found.note["h2"].startswith("Monte Carlo error 0.00")


def test_effects_are_those_of_the_library(run, data):
    found = pd.read_csv(run / "weight.effects.tsv", sep="\t").set_index("component")
    fit = bl.components_reml(data)
    assert_allclose(found.effect["year"], fit.effects["year"], rtol=1e-6)
    assert len(found) == sum(len(one.levels) for one in data.parts)


def test_components_are_tested(run, data):
    found = pd.read_csv(run / "components.tsv", sep="\t").set_index("component")
    assert list(found.index) == ["u", "pe", "year"]
    assert found.levels["year"] == 6
    test = bl.component_test(bl.components_reml(data), "year", seed=1)
    assert_allclose(found.loc["year", ["statistic", "p_value"]].to_list(), [test.statistic, test.p_value], rtol=1e-6)


def test_the_record_and_the_page_say_what_was_done(run):
    record = json.loads((run / "run.json").read_text())
    assert record["traits"]["weight"]["records"] == 150
    assert list(record["traits"]["weight"]["components"]) == ["u", "pe", "year"]
    assert record["options"]["methods"] == ["reml", "importance"]
    assert record["prior"] == {"shares": "1", "sigma2_p": "LogNormal(loc=0, scale=2)"}
    page = (run / "report.html").read_text()
    for words in ("repeatability of weight", "Shares of the variance", "Pareto k", "pe (", "year (6 levels)"):
        assert words in page
    assert (run / "weight.shares.svg").exists()


def test_the_order_of_records_does_not_matter(herd, run, tmp_path):
    table = pd.read_csv(herd / "pheno.tsv", sep="\t").sample(frac=1, random_state=1)
    table.to_csv(herd / "shuffled.tsv", sep="\t", index=False)
    options = ("--random", "IID", "year", "--methods", "reml", "--no-plots")
    assert main(typed(herd, *options, out=tmp_path / "o", pheno="shuffled.tsv")) == 0
    ours, theirs = (estimates_of(out).loc["reml"].estimate for out in (tmp_path / "o", run))
    assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_nuts_agrees_with_importance_sampling_and_components_have_bayes_factors(herd, run, data, tmp_path):
    options = ("--repeated", "--random", "year", "--methods", "importance", "nuts", "--bayes-factors", "--no-plots")
    assert main(typed(herd, *options, out=tmp_path / "o")) == 0
    nuts, weighted = estimates_of(tmp_path / "o").loc["nuts"], estimates_of(run).loc["importance"]
    for name in ("share[u]", "share[pe]", "share[year]", "repeatability"):
        errors = nuts.se[name] / np.sqrt(nuts.ess_bulk[name]), float(weighted.note[name].split()[-1])
        assert abs(nuts.estimate[name] - weighted.estimate[name]) < 4 * np.hypot(*errors)
    found = pd.read_csv(tmp_path / "o" / "components.tsv", sep="\t").set_index("component")
    factor = importance(data, seed=1).log_bayes_factor("year", seed=1)
    assert_allclose(found.log10_bayes_factor["year"], factor.value / np.log(10), rtol=1e-6)
    assert_allclose(found.log10_bayes_factor_error["year"], factor.error / np.log(10), rtol=1e-6)
    assert_allclose(
        xr.open_datatree(tmp_path / "o" / "weight.posterior.nc", engine="h5netcdf")["posterior"][
            "repeatability"
        ].mean(),
        nuts.estimate["repeatability"],
        rtol=1e-9,
    )
    draws = xr.open_datatree(tmp_path / "o" / "weight.posterior.nc", engine="h5netcdf")
    assert list(draws["posterior"]["component"].to_numpy()) == ["u", "pe", "year", "e"]


def test_a_method_that_fails_costs_the_others_nothing(herd, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weighted_module, "MAX_PARETO_K", -9.0)
    assert main(typed(herd, "--repeated", "--random", "year", "--no-plots", out=tmp_path / "o")) == 1
    error = capsys.readouterr().err
    assert "importance of weight failed: importance sampling of u, pe, year, e failed: the Pareto k" in error
    found = estimates_of(tmp_path / "o")
    assert np.isfinite(found.estimate["reml", "repeatability"])
    assert np.isnan(found.estimate["importance", "share[u]"])
    assert found.note["importance", "share[u]"].startswith("failed: importance sampling")
    assert "importance sampling FAILED" in (tmp_path / "o" / "report.html").read_text()


def test_one_failing_trait_costs_the_others_nothing(herd, tmp_path, capsys):
    arguments = typed(herd, "--repeated", "--methods", "reml", out=tmp_path / "o")
    arguments.insert(arguments.index("weight") + 1, "constant")
    assert main(arguments) == 2
    assert "constant FAILED" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "o" / "estimates.tsv", sep="\t").set_index("trait")
    assert found.note["constant"].startswith("FAILED")
    assert len(found.loc["weight"]) > 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "h2 and rg analyse several records of an individual with --repeated; else give one row for each"),
        (("--repeated", "--covar", "{herd}/years.tsv"), "covariates that differ between records are columns"),
        (("--repeated", "--random", "constant"), "group 'constant' has one level, 1, for all 150 records"),
        (("--repeated", "--random", "row"), "component 'row' cannot be told from the residual"),
        (("--repeated", "--random", "year", "same"), "components 'year' and 'same' are the same"),
        (("--repeated", "--random", "year", "--covariates", "year", "--categorical", "year"), "already have an effect"),
        (("--repeated", "--random-kinship", "again={herd}/pedigree.csv"), "components 'u' and 'again' are the same"),
        (("--repeated", "--random", "weight"), "weight cannot be a trait and a random effect at once"),
        (("--repeated", "--random", "nothing"), "has no column 'nothing'"),
        (("--repeated", "--random", "u"), "'u' cannot be the name of a random effect"),
        (("--random", "year", "year"), "two random effects are called 'year'"),
        (("--repeated", "--h2-of", "year2"), "--h2-of year2: the components are u, pe"),
        (("--pheno", "nowhere", "--repeated", "--h2-of", "year2"), "--h2-of year2: the components are u, pe"),
        (("--repeated", "--h2-of", "u", "u"), "--h2-of names 'u' twice"),
        (("--repeated", "--prior-shares", "x=1"), "--prior-shares x: the components are u, pe, e"),
        (("--pheno", "nowhere", "--repeated", "--prior-shares", "x=1"), "--prior-shares x: the components are u, pe"),
        (("--repeated", "--prior-shares", "2", "--methods", "reml"), "--prior-shares is a prior, and REML has none"),
        (("--repeated", "--prior-shares", "0"), "--prior-shares 0: a concentration above 0 is expected"),
        (("--repeated", "--prior-total", "0", "1"), "--prior-total needs two numbers above 0"),
        (("--repeated", "--methods", "exact"), "--methods exact is one of a single kinship"),
        (("--repeated", "--methods", "reml", "--bayes-factors"), "--bayes-factors requires --methods importance"),
        (("--repeated", "--prior-h2", "2", "2"), "--prior-h2 is about a single kinship"),
        (("--repeated", "--bend"), "--bend is about the decomposition of one kinship"),
        (("--bayes-factors",), "--bayes-factors needs several components"),
        (("--prior-shares", "2"), "--prior-shares is the prior of several components"),
        (("--methods", "importance"), "--methods importance is one of several components (--random"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(herd, tmp_path, capsys, options, words):
    options = [option.format(herd=herd) for option in options]
    assert main(typed(herd, *options, out=tmp_path / "o")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert words in line


def test_a_kinship_is_needed(herd, tmp_path, capsys):
    options = typed(herd, "--repeated", out=tmp_path / "o")
    assert main(["h2", *options[3:]]) == 2
    assert "a kinship is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_lay_dates_of_gryphons_equal_asreml(shared, tmp_path):
    """4 components of 1,607 records; the reference and the published table say birth years are on the boundary."""
    folder = shared / "gryphon_vc"
    reference = json.loads((folder / "reference.json").read_text())
    wanted = reference["laydate"]["models"]["animal+pe+year+byear"]["reml"]
    arguments = ["h2", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "repeated_laydate.tsv")]
    arguments += ["--id", "ID", "--trait", "lay_date", "--covariates", "age", "--categorical", "age", "--repeated"]
    arguments += ["--random", "year", "cohort", "--methods", "reml", "--no-plots", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    found = estimates_of(tmp_path / "o").loc["reml"]
    ours = [f"sigma2[{name}]" for name in ("u", "pe", "year", "cohort", "e")]
    assert_allclose(found.estimate[ours], wanted["theta"], rtol=1e-5, atol=1e-9)
    assert_allclose(found.se[ours].fillna(0), wanted["se_AI"], rtol=1e-5)
    share = wanted["proportions_AI"]["repeatability"]
    assert_allclose(found.loc["repeatability", ["estimate", "se"]].to_list(), [share["est"], share["se"]], rtol=1e-5)
    assert found.note["sigma2[cohort]"].startswith("boundary: the variance of cohort is estimated at 0")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """120 people with 80 markers, of which those of the set a have larger effects than the others."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(8)
    G = rng.binomial(2, rng.uniform(0.2, 0.5, 80), (120, 80)).astype(float)
    ids = [f"p{i}" for i in range(120)]
    properties = {"iid": ids, "fid": ids, "sid": [f"s{k}" for k in range(80)], "chromosome": ["1"] * 40 + ["2"] * 40}
    to_bed(folder / "x.bed", G, properties=properties)
    sets = ["a"] * 20 + ["b"] * 50
    (folder / "sets.txt").write_text("".join(f"s{k} {name}\n" for k, name in enumerate(sets)))
    effects = rng.normal(size=80) * np.where(np.arange(80) < 20, 1, 0.7)
    y = (G - G.mean(axis=0)) @ effects + 3 * rng.normal(size=120)
    pd.DataFrame({"IID": ids, "y": y.round(4)}).to_csv(folder / "pheno.tsv", sep="\t", index=False)
    return folder


def test_sets_of_markers_are_components_with_their_enrichment(people, tmp_path, capsys):
    arguments = ["h2", "--bfile", str(people / "x"), "--pheno", str(people / "pheno.tsv"), "--trait", "y", "--no-plots"]
    assert main([*arguments, "--partition", str(people / "sets.txt"), "--out", str(tmp_path / "o")]) == 0
    assert "a kinship of each set of markers: a (20), b (50)" in capsys.readouterr().out
    found = estimates_of(tmp_path / "o")
    genotypes = bl.open_genotypes(people / "x")
    kinships = bl.partition_kinships(genotypes, bl.read_partition(people / "sets.txt", genotypes))
    y = pd.read_csv(people / "pheno.tsv", sep="\t").y.to_numpy()
    effects = tuple(bl.related(name, K, genotypes.ids) for name, K in kinships.items())
    data = bl.components(bl.Records("y", y, np.ones((120, 1)), ("intercept",), effects))
    fit = bl.components_reml(data)
    a, b, _ = fit.sigma2
    assert not fit.boundary
    reml = found.loc["reml"]
    assert_allclose(reml.estimate["enrichment[a]"], a / (a + b) / (20 / 70), rtol=1e-6)
    gradient = np.array([b, -a, 0]) / (a + b) ** 2 / (20 / 70)  # by hand
    assert_allclose(reml.se["enrichment[a]"], np.sqrt(gradient @ fit.covariance() @ gradient), rtol=1e-6)
    assert_allclose(reml.estimate["h2"], fit.share("a", "b"), rtol=1e-7)
    posterior = importance(data, seed=1)
    draws = posterior.sigma2[:, 0] / posterior.sigma2[:, :2].sum(axis=1) / (20 / 70)
    weighted = found.loc["importance"].loc["enrichment[a]"]
    assert_allclose(
        [weighted.estimate, weighted.lower], [posterior.mean(draws), posterior.interval(draws)[0]], rtol=1e-7
    )


def test_a_partition_by_chromosomes_needs_genotypes(people, herd, tmp_path, capsys):
    arguments = ["h2", "--bfile", str(people / "x"), "--pheno", str(people / "pheno.tsv"), "--trait", "y", "--no-plots"]
    arguments += ["--partition", "chromosome", "--methods", "reml"]
    assert main([*arguments, "--out", str(tmp_path / "o")]) == 0
    assert "chr1 (40), chr2 (40)" in capsys.readouterr().out
    assert main(typed(herd, "--repeated", "--partition", "chromosome", out=tmp_path / "p")) == 2
    assert "--partition divides the markers of genotypes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pe", (), "'pe' cannot be the name of a random effect"),  # it would count as a permanent environment
        ("e", (), "'e' cannot be the name of a random effect"),
        ("litter", ("--random", "litter"), "two random effects are called 'litter'"),
    ],
)
def test_a_set_of_markers_has_no_name_of_another_component(people, tmp_path, capsys, name, options, words):
    (tmp_path / "sets.txt").write_text("".join(f"s{k} {'a' if k < 20 else name}\n" for k in range(80)))
    table = pd.read_csv(people / "pheno.tsv", sep="\t").assign(litter=[f"l{i // 4}" for i in range(120)])
    table.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    arguments = ["h2", "--bfile", str(people / "x"), "--pheno", str(tmp_path / "pheno.tsv"), "--trait", "y"]
    arguments += [*options, "--partition", str(tmp_path / "sets.txt"), "--methods", "reml", "--no-plots"]
    assert main([*arguments, "--out", str(tmp_path / "o")]) == 2
    assert words in capsys.readouterr().err


def test_enrichment_is_that_of_the_sets_of_h2(people, tmp_path):
    """A set that is no part of h2 has no share of it, by any method; the markers are those of the other sets."""
    (tmp_path / "sets.txt").write_text("".join(f"s{k} {'abc'[min(k // 20, 2)]}\n" for k in range(80)))
    arguments = ["h2", "--bfile", str(people / "x"), "--pheno", str(people / "pheno.tsv"), "--trait", "y", "--no-plots"]
    arguments += ["--partition", str(tmp_path / "sets.txt"), "--h2-of", "a", "b", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    found = estimates_of(tmp_path / "o").estimate
    for method in ("reml", "importance"):
        of = found[method]
        assert "enrichment[c]" not in of
        assert_allclose((of["enrichment[a]"] + of["enrichment[b]"]) / 2, 1, rtol=1e-6)  # each has half of the markers


def test_a_share_of_everything_has_no_error(people, tmp_path):
    """A set that is all of h2 since the other is estimated at 0: its enrichment is 80 / 40, but not for sure."""
    rng = np.random.default_rng(4)
    genotypes = bl.open_genotypes(people / "x")
    kinships = bl.partition_kinships(genotypes, bl.by_chromosome(genotypes))
    y = np.linalg.cholesky(kinships["chr1"].K + 1e-6 * np.eye(120)) @ rng.normal(size=120) + rng.normal(size=120)
    pd.DataFrame({"IID": genotypes.ids, "y": y}).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    arguments = ["h2", "--bfile", str(people / "x"), "--pheno", str(tmp_path / "pheno.tsv"), "--trait", "y"]
    arguments += ["--partition", "chromosome", "--methods", "reml", "--no-plots", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    found = estimates_of(tmp_path / "o").loc["reml"]
    assert_allclose(found.estimate[["sigma2[chr2]", "enrichment[chr1]"]], [0, 2], rtol=1e-12)
    assert np.isnan(found.loc["enrichment[chr1]", ["se", "lower", "upper"]].astype(float)).all()
    assert found.note["enrichment[chr1]"].startswith("boundary: the variance of chr2 is estimated at 0")
    assert found.se["share[chr1]"] > 0


def test_of_two_values_page_and_terminal_say_what_the_factor_is(herd, tmp_path, capsys):
    table = pd.read_csv(herd / "pheno.tsv", sep="\t")
    heavy = (table.weight > table.weight.median()).astype(int)
    table.assign(heavy=heavy).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    options = ("--repeated", "--prevalence", "0.2", "--methods", "reml", "--no-plots")
    assert main(typed(herd, *options, out=tmp_path / "o", pheno=tmp_path / "pheno.tsv", trait="heavy")) == 0
    share, z = heavy.mean(), norm.pdf(norm.ppf(0.2))
    factor = (0.2 * 0.8 / z) ** 2 / (share * (1 - share))  # Lee et al. (2011), equation 23
    words = f"{heavy.sum()} of 150 are cases (heavy = 1), {100 * share:#.3g}%, and 20.0% of the population: factor"
    for text in (capsys.readouterr().out, (tmp_path / "o" / "report.html").read_text()):
        assert f"{words} {factor:.4g} of the h2 of the two values" in " ".join(text.split())
