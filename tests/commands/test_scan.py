"""The command from files to files."""

import json
import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed, to_bed
from numpy.testing import assert_allclose
from scipy.stats import chi2, f, gamma, norm
from scipy.stats import t as student

import bayeslmm as bl
from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.float64 import in_float64
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands import scan_cohort
from bayeslmm.commands.main import main
from bayeslmm.commands.results_folder import open_results
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.kinship.from_genotypes import without
from bayeslmm.likelihood.one_trait import at_unit_scale, gls, log_ml, rescale
from bayeslmm.posterior import exact
from bayeslmm.report.scan import scan_cautions
from bayeslmm.scan import against
from bayeslmm.scan.blocks import least_allele_counts
from bayeslmm.scan.table import COLUMNS

pytestmark = pytest.mark.slow

MARKERS = 60


@pytest.fixture
def cohort(tmp_path, rng, monkeypatch):
    """80 individuals, 60 markers on 3 chromosomes, two traits, one with missing values; blocks of 16 markers."""
    monkeypatch.setattr(against, "BLOCK", 16)
    n = 80
    G = rng.binomial(2, rng.uniform(0.2, 0.5, MARKERS), (n, MARKERS)).astype(float)
    G[rng.uniform(size=G.shape) < 0.01] = np.nan
    ids = [f"p{i}" for i in range(n)]
    chrom = np.repeat(["1", "2", "X"], MARKERS // 3)
    properties = {"fid": ids, "iid": ids, "chromosome": chrom, "bp_position": np.arange(MARKERS) + 1}
    to_bed(tmp_path / "x.bed", G, properties=properties)
    y = np.nan_to_num(G - 1) @ rng.standard_normal((MARKERS, 2)) / 5 + rng.standard_normal((n, 2))
    table = pd.DataFrame({"IID": ids, "a": y[:, 0], "b": y[:, 1], "age": rng.uniform(20, 60, n)})
    table.loc[[3, 40], "b"] = np.nan
    table.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    return tmp_path


def scan(folder, *options, out="out", traits=("a",)):
    inputs = ["--bfile", str(folder / "x"), "--pheno", str(folder / "pheno.tsv"), "--trait", *traits]
    code = main(["scan", *inputs, "--out", str(folder / out), *options])
    return code, folder / out


@dataclass
class ByHand:
    """Trait a of the cohort, before rotation."""

    K: np.ndarray
    y: np.ndarray
    age: np.ndarray

    def rotated(self, *more):
        """Rotate it with an intercept, age and more covariates."""
        X = np.column_stack([np.ones(80), self.age, *more])
        return bl.decompose(self.K).rotate(self.y, X)


def by_hand(folder, lines):
    """Return trait a, and centred dosages of some markers."""
    people = bl.measure(bl.read_table(folder / "pheno.tsv"), ["a"], covariates=["age"])
    (one,) = bl.align(bl.genomic_kinship(folder / "x"), people)
    (block,) = dosages(open_genotypes(folder / "x"), np.arange(80), [lines])
    return ByHand(one.K, one.Y, one.X[0][:, 1]), block.G


@in_float64
def at_ratio(data, h2):
    """Fit effects at a given h2, and scale as restricted likelihood has it; the log-likelihood is that of ML."""
    (n, c), fit = data.X.shape, gls(data, h2, 1 - h2)
    sigma2_p = float(fit.quad) / (n - c)
    loglik = rescale(at_unit_scale(log_ml, data, h2, 1 - h2), n, fit.quad / n)
    beta, cov = np.asarray(fit.beta), np.asarray(fit.cov)
    return SimpleNamespace(beta=beta, se_beta=np.sqrt(sigma2_p * np.diag(cov)), loglik=float(loglik))


def of_trait(out, trait="a"):
    return pd.read_csv(out / f"{trait}.scan.tsv", sep="\t", dtype={"chrom": str})


def refused(capsys, code):
    assert code == 2
    return capsys.readouterr().err


def test_scan_writes_its_table_and_pictures(cohort, capsys):
    code, out = scan(cohort, "--covariates", "age", "--posterior", "sid4", "--posterior-top", "1", traits=("a", "b"))
    assert code == 0
    tables = {trait: of_trait(out, trait) for trait in ("a", "b")}
    for table, n in zip(tables.values(), (80, 78), strict=True):
        assert list(table.columns) == COLUMNS[1:]
        assert table.notna().all(axis=None)
        assert (table["n"] + table["n_miss"] == n).all()
    assert sorted(path.name for path in out.iterdir()) == [
        "a.manhattan.svg", "a.qq.svg", "a.scan.tsv", "b.manhattan.svg", "b.qq.svg", "b.scan.tsv", "effects.tsv",
        "report.html", "run.json", "top.tsv",
    ]  # fmt: skip
    # One marker by hand: the model with it as a covariate.
    trait, G = by_hand(cohort, [3])
    data = trait.rotated(G)
    fit, row = bl.reml(data), tables["a"].set_index("snp").loc["sid4"]
    assert_allclose([row["beta"], row["se"]], [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)
    effects = pd.read_csv(out / "effects.tsv", sep="\t").query("snp == 'sid4' and trait == 'a'").iloc[0]
    posterior = exact.posterior(data)
    assert_allclose([effects["mean"], effects["sd"]], [posterior.beta[-1], posterior.se_beta[-1]], rtol=1e-6)
    assert effects["lower"] < effects["mean"] < effects["upper"]
    top = pd.read_csv(out / "top.tsv", sep="\t")
    assert top.groupby("trait")["p_wald"].apply(lambda p: p.is_monotonic_increasing).all()
    record = json.loads((out / "run.json").read_text())
    for trait in ("a", "b"):
        markers = record["traits"][trait]["markers"]
        assert markers["read"] == MARKERS
        assert markers["kept"] == len(tables[trait]) == MARKERS - markers["above_missing"] > 50
    assert record["traits"]["b"]["n"] == 78
    said = capsys.readouterr().out
    assert "a: 60 of 60 markers tested" in said
    assert "posterior of sid4 on a" in said
    (answer,) = [line for line in said.splitlines() if line.startswith("strongest association with b: ")]
    assert f'<p class="answer">{answer}</p>' in (out / "report.html").read_text()


def test_optional_columns(cohort):
    _, out = scan(cohort, "--test", "null", "--ols", "--covariate-effects", "--covariates", "age")
    table = of_trait(out)
    assert list(table.columns) == [*COLUMNS[1:], "beta_ols", "se_ols", "p_ols", "alpha_intercept", "alpha_age"]
    assert table["delta"].nunique() == 1
    assert table.notna().all(axis=None)


@pytest.mark.parametrize("test", ["exact", "null"])
def test_interactions_equal_models_with_the_product(cohort, test):
    _, out = scan(cohort, "--test", test, "--interaction", "age", "--covariates", "age")
    row = of_trait(out).set_index("snp").loc["sid11"]
    data, G = by_hand(cohort, [10])
    product = G[:, 0] * data.age
    marker, both = (data.rotated(columns) for columns in (G, np.column_stack([G, product])))
    if test == "exact":
        fit = bl.reml(both)
        ratios = [2 * (bl.ml(both).loglik - bl.ml(less).loglik) for less in (marker, data.rotated())]
    else:
        fit = at_ratio(both, bl.reml(data.rotated()).h2)
        h2 = bl.ml(data.rotated()).h2
        ratios = [2 * (at_ratio(both, h2).loglik - at_ratio(less, h2).loglik) for less in (marker, data.rotated())]
    assert_allclose(row[["beta_x_age", "se_x_age"]].astype(float), [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)
    assert_allclose(row["p_lrt_x_age"], chi2.sf(ratios[0], 1), rtol=1e-5)
    assert_allclose(row["p_joint_x_age"], chi2.sf(ratios[1], 2), rtol=1e-5)
    assert_allclose(row["p_wald_x_age"], f.sf((fit.beta[-1] / fit.se_beta[-1]) ** 2, 1, 76), rtol=1e-5)


def test_epistasis_equals_models_with_the_product(cohort):
    bed = pd.Series(["sid5 sid40", "sid11 sid2"])
    bed.to_csv(cohort / "pairs.txt", index=False, header=False)
    _, out = scan(cohort, "--epistasis", str(cohort / "pairs.txt"), "--covariates", "age", traits=("a", "b"))
    table = pd.read_csv(out / "epistasis.tsv", sep="\t", dtype={"chrom_2": str})
    assert list(table["trait"]) == ["a", "a", "b", "b"]
    row = table.iloc[0]
    assert list(row[["snp_1", "snp_2", "chrom_2", "pos_2", "df"]]) == ["sid5", "sid40", "2", 40, 3]
    data, G = by_hand(cohort, [4, 39])
    two, three = (data.rotated(columns) for columns in (G, np.column_stack([G, G.prod(axis=1)])))
    fit = bl.reml(three)
    assert_allclose(row[["beta", "se"]].astype(float), [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)
    ratios = [2 * (bl.ml(three).loglik - bl.ml(less).loglik) for less in (two, data.rotated())]
    assert_allclose(row["p_lrt"], chi2.sf(ratios[0], 1), rtol=1e-5)
    assert_allclose(row["p_joint"], chi2.sf(ratios[1], 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sid1 sid2\nsid3\n", r"line 2: two different markers are needed, but 'sid3' was found"),
        ("sid1 sid1\n", r"line 1: two different markers are needed"),
        ("sid1 rs7\n", r"line 1: no marker is called 'rs7'"),
        ("\n", r"has no pair of markers"),
    ],
)
def test_pairs_that_are_none_are_refused(cohort, capsys, text, message):
    (cohort / "pairs.txt").write_text(text)
    code, _ = scan(cohort, "--epistasis", str(cohort / "pairs.txt"))
    assert re.search(message, refused(capsys, code))


def test_parquet_holds_the_same(cohort):
    _, out = scan(cohort, traits=("a", "b"))
    _, other = scan(cohort, "--format", "parquet", out="parquet", traits=("a", "b"))
    for trait in ("a", "b"):
        text, binary = of_trait(out, trait), pd.read_parquet(other / f"{trait}.scan.parquet")
        assert list(text.columns) == list(binary.columns)
        for name in COLUMNS[1:]:
            if text[name].dtype.kind == "f":
                assert_allclose(binary[name], text[name], rtol=1e-7)
            else:
                assert (binary[name] == text[name]).all()


@pytest.fixture
def human(cohort):
    """The cohort with names of markers and alleles as people have them, one of them an indel."""
    lines = [line.split("\t") for line in (cohort / "x.bim").read_text().splitlines()]
    for k, line in enumerate(lines):
        line[1], line[4:] = f"{'rs' if k % 2 else 'chip'}{k}", ["G", "AT" if k == 5 else "A"]
    (cohort / "x.bim").write_text("".join("\t".join(line) + "\n" for line in lines))
    return cohort


def test_columns_of_the_gwas_catalog(human):
    """Names, order and values of the specification of GWAS-SSF 1.0, table 1."""
    _, own = scan(human)
    code, out = scan(human, "--columns", "gwas-ssf", out="ssf")
    assert code == 0
    table = pd.read_csv(out / "a.gwas-ssf.tsv.gz", sep="\t", na_values="#NA", keep_default_na=False)
    assert list(table.columns) == [
        "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
        "effect_allele_frequency", "p_value", "rsid", "n", "snp",
    ]  # fmt: skip
    assert set(table["chromosome"]) == {1, 2, 23}
    mine = of_trait(own)
    theirs = {"beta": "beta", "se": "standard_error", "af": "effect_allele_frequency", "p_wald": "p_value", "n": "n"}
    for name, other in theirs.items():
        assert_allclose(table[other], mine[name])
    for name, other in {"a1": "effect_allele", "a0": "other_allele", "snp": "snp", "pos": "base_pair_location"}.items():
        assert (table[other] == mine[name]).all()
    assert (table["rsid"].isna() == ~mine["snp"].str.startswith("rs")).all()
    assert not (out / "a.scan.tsv").exists()


def test_columns_of_ldsc(human):
    """SNP, A1, A2, N, Z, as its .sumstats: Z has the sign of A1."""
    _, own = scan(human)
    code, out = scan(human, "--columns", "ldsc", out="ldsc")
    assert code == 0
    table, mine = pd.read_csv(out / "a.sumstats.gz", sep="\t"), of_trait(own)
    assert list(table.columns) == ["SNP", "A1", "A2", "N", "Z", "P"]
    assert (table[["SNP", "A1", "A2", "N"]].to_numpy() == mine[["snp", "a1", "a0", "n"]].to_numpy()).all()
    assert_allclose(table["Z"], mine["beta"] / mine["se"], rtol=1e-6)
    assert_allclose(2 * student.sf(abs(table["Z"]), 80 - 2), table["P"], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\tA\n", "\tB\n"), "GWAS-SSF writes alleles with the letters A, C, G and T, but 59 markers have others"),
        (("X\t", "31\t"), "GWAS-SSF has the chromosomes 1 to 22, X, Y and MT of humans, but 31 was found"),
    ],
)
def test_what_the_gwas_catalog_does_not_take_is_refused_at_once(human, capsys, change, message):
    (human / "x.bim").write_text((human / "x.bim").read_text().replace(*change))
    code, out = scan(human, "--columns", "gwas-ssf")
    assert message in refused(capsys, code)
    assert not out.exists()


class Killed(BaseException):
    """As if the process ended."""


@pytest.mark.parametrize("options", [[], ["--loco"], ["--format", "parquet", "--test", "null"], ["--columns", "ldsc"]])
def test_a_scan_that_was_killed_goes_on_where_it_was(cohort, monkeypatch, options):
    traits = ("a", "b")
    suffix = "scan.parquet" if "parquet" in options else "sumstats.gz" if "ldsc" in options else "scan.tsv"
    names = [f"{trait}.{suffix}" for trait in traits]
    _, whole = scan(cohort, *options, out="whole", traits=traits)
    tested = []
    write = scan_cohort.Parts.write

    def until_killed(self, number, table):
        if len(tested) == 5:
            raise Killed
        tested.append(number)
        write(self, number, table)

    monkeypatch.setattr(scan_cohort.Parts, "write", until_killed)
    with pytest.raises(Killed):
        scan(cohort, *options, out="killed", traits=traits)
    first, out = list(tested), cohort / "killed"
    assert not any((out / name).exists() for name in names)

    def on(self, number, table):
        tested.append(number)
        write(self, number, table)

    monkeypatch.setattr(scan_cohort.Parts, "write", on)
    code, _ = scan(cohort, "--resume", *options, out="killed", traits=traits)
    assert code == 0
    assert len(tested) == len(set(tested))  # no block twice
    assert set(first) < set(tested)
    for file in (*names, "top.tsv"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    assert not (out / "scan.parts").exists()


def scan_killed_at_its_second_block(cohort, monkeypatch):
    write = scan_cohort.Parts.write

    def killed(self, number, table):
        if number == 1:
            raise Killed
        write(self, number, table)

    with monkeypatch.context() as patch:
        patch.setattr(scan_cohort.Parts, "write", killed)
        with pytest.raises(Killed):
            scan(cohort)


def test_an_unfinished_scan_is_neither_lost_nor_mixed_up(cohort, monkeypatch, capsys):
    scan_killed_at_its_second_block(cohort, monkeypatch)
    code, _ = scan(cohort)
    assert "scan.parts/: continue with --resume" in refused(capsys, code)
    code, _ = scan(cohort, "--resume", "--test", "null")
    assert "is of another scan, with test exact where it is null now" in refused(capsys, code)
    pheno = cohort / "pheno.tsv"
    pheno.write_text(pheno.read_text().replace("\t2", "\t3", 1))
    code, _ = scan(cohort, "--resume")
    assert "pheno.tsv changed since: start again and overwrite it" in refused(capsys, code)
    (cohort / "out" / "scan.parts" / "run.json").unlink()
    code, _ = scan(cohort, "--resume")
    assert "does not say which scan was started there" in refused(capsys, code)


def test_a_damaged_part_is_told(cohort, monkeypatch, capsys):
    scan_killed_at_its_second_block(cohort, monkeypatch)
    part = cohort / "out" / "scan.parts" / "000000.parquet"
    part.write_bytes(b"")
    code, _ = scan(cohort, "--resume")
    assert re.search(r"000000.parquet is damaged, .*: delete it, and resume the scan", refused(capsys, code))
    part.unlink()
    code, _ = scan(cohort, "--resume")
    assert code == 0


def test_two_scans_do_not_share_a_folder(cohort, capsys):
    with open_results(cohort / "out", ["a"], command="h2", inputs=[]):
        code, _ = scan(cohort)
    assert "another run is writing to" in refused(capsys, code)


def test_nothing_of_an_earlier_scan_is_left(cohort):
    scan(cohort, "--posterior-top", "1")
    _, out = scan(cohort, "--format", "parquet", "--overwrite")
    assert sorted(path.name for path in out.iterdir()) == [
        "a.manhattan.svg",
        "a.qq.svg",
        "a.scan.parquet",
        "report.html",
        "run.json",
        "top.tsv",
    ]


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_a_trait_that_cannot_be_scanned_costs_the_others_nothing(cohort, capsys, form):
    """One without variation, measured on the same individuals; and one whose tests fail."""
    pheno = pd.read_csv(cohort / "pheno.tsv", sep="\t")
    pheno.assign(flat=1.0).to_csv(cohort / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    _, alone = scan(cohort, "--format", form, out="alone")
    capsys.readouterr()
    code, out = scan(cohort, "--format", form, traits=("a", "flat"))
    assert code == 2
    why = "trait 'flat' is 1 for all 80 individuals: it has no variation"
    assert re.fullmatch(f"bayeslmm: flat FAILED: .*{why}\n", capsys.readouterr().err)
    read = pd.read_parquet if form == "parquet" else lambda path: pd.read_csv(path, sep="\t")
    both, only = (read(folder / f"a.scan.{form}") for folder in (out, alone))
    assert_allclose(both["p_wald"], only["p_wald"], rtol=1e-7)
    assert not list(out.glob("flat.*"))
    assert set(pd.read_csv(out / "top.tsv", sep="\t")["trait"]) == {"a"}
    assert why in json.loads((out / "run.json").read_text())["traits"]["flat"]["failed"]
    assert "flat FAILED: " in (out / "report.html").read_text()


def test_a_set_of_people_whose_tests_fail_is_left_out(cohort, monkeypatch, capsys):
    write = scan_cohort.block_tables

    def failing(markers, people, *rest):
        if people.traits == ("a",):
            raise AnalysisError("no such luck")
        yield from write(markers, people, *rest)

    monkeypatch.setattr(scan_cohort, "block_tables", failing)
    code, out = scan(cohort, traits=("a", "b"))
    assert code == 1
    assert "bayeslmm: a FAILED: no such luck\n" in capsys.readouterr().err
    assert {path.name for path in out.glob("*.scan.tsv")} == {"b.scan.tsv"}
    assert json.loads((out / "run.json").read_text())["traits"]["a"] == {"failed": "no such luck"}


def test_a_trait_without_a_marker_to_test_costs_the_others_nothing(cohort, capsys):
    with open_bed(cohort / "x.bed") as bed:
        G, properties = bed.read(), {"fid": bed.iid, "iid": bed.iid, "chromosome": bed.chromosome}
    G[10:] = 0
    to_bed(cohort / "x.bed", G, properties=properties)
    table = pd.read_csv(cohort / "pheno.tsv", sep="\t")
    table.loc[:9, "b"] = np.nan
    table.to_csv(cohort / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    bl.write_grm(bl.Kinship(tuple(table["IID"]), np.eye(80) + 0.1 * np.diag(np.arange(80) % 2), "k"), cohort / "k")
    code, out = scan(cohort, "--grm", str(cohort / "k"), traits=("a", "b"))
    assert code == 0
    said = capsys.readouterr()
    assert "no marker could be tested for b: markers: 0 of 60 used" in said.err
    assert "b: 0 of 60 markers tested" in said.out
    assert {path.name for path in out.glob("*.scan.tsv")} == {"a.scan.tsv"}
    code, _ = scan(cohort, "--grm", str(cohort / "k"), traits=("b",), out="none")
    assert "no marker could be tested for any trait" in refused(capsys, code)


def test_people_of_a_kinship_without_genotypes_are_told(cohort, capsys):
    kinship = bl.genomic_kinship(cohort / "x")
    K = np.eye(90)
    K[:80, :80] = kinship.K
    bl.write_grm(bl.Kinship((*kinship.ids, *(f"q{i}" for i in range(10))), K, "k"), cohort / "k")
    table = pd.read_csv(cohort / "pheno.tsv", sep="\t")
    pd.concat([table, table.head(10).assign(IID=[f"q{i}" for i in range(10)])]).to_csv(
        cohort / "pheno.tsv", sep="\t", index=False, na_rep="NA"
    )
    code, _ = scan(cohort, "--grm", str(cohort / "k"))
    assert code == 0
    assert re.search(r"not analysed: 10 of .*k.* without genotypes in .*x.bed \(q0, q1, q2", capsys.readouterr().out)


def test_a_marker_is_found_again_although_names_repeat(cohort):
    bim = cohort / "x.bim"
    bim.write_text("".join(f"{'1 2 X'.split()[k // 20]}\t.\t0\t0\tA\tG\n" for k in range(MARKERS)))
    _, out = scan(cohort, "--posterior-top", "1")
    top, effect = (pd.read_csv(out / f"{name}.tsv", sep="\t").iloc[0] for name in ("top", "effects"))
    assert_allclose(effect["mean"], top["beta"], atol=0.05 * top["se"])


def test_a_marker_that_the_covariates_determine_has_no_posterior(cohort, capsys):
    _, G = by_hand(cohort, [3])
    table = pd.read_csv(cohort / "pheno.tsv", sep="\t").assign(same=G[:, 0])
    table.to_csv(cohort / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    code, out = scan(cohort, "--covariates", "same", "--posterior", "sid4")
    assert code == 0
    said = capsys.readouterr()
    assert (
        "sid4 is a combination of the covariates among the individuals with a: its effect has no posterior" in said.err
    )
    assert "1 that the covariates determine or that leave nothing of the trait" in said.out
    assert not (out / "effects.tsv").exists()


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_a_block_without_markers_to_test(cohort, capsys, form):
    with open_bed(cohort / "x.bed") as bed:
        G, properties = bed.read(), {"fid": bed.iid, "iid": bed.iid, "chromosome": bed.chromosome}
    G[:, :16] = 0
    to_bed(cohort / "x.bed", G, properties=properties)
    code, out = scan(cohort, "--format", form, "--posterior", "sid2", "sid20", "--resume")
    assert code == 0
    said = capsys.readouterr()
    assert "no unfinished scan in" in said.out
    assert "sid2 does not vary among the individuals with a: its effect has no posterior" in said.err
    assert list(pd.read_csv(out / "effects.tsv", sep="\t")["snp"]) == ["sid20"]
    table = pd.read_parquet(out / "a.scan.parquet") if form == "parquet" else of_trait(out)
    assert list(table["snp"]) == [f"sid{k}" for k in range(17, 61)]


def test_a_wrong_input_leaves_nothing_to_resume(cohort, capsys):
    code, _ = scan(cohort, "--interaction", "age")
    assert "interaction age" in refused(capsys, code)
    code, _ = scan(cohort)
    assert code == 0


def test_loco_tests_each_chromosome_against_the_others(cohort):
    _, out = scan(cohort, "--loco")
    table = of_trait(out).set_index("snp")
    genotypes = open_genotypes(cohort / "x")
    everything = bl.genomic_kinship(genotypes)
    left = without(everything, genotypes, range(20, 40))
    # The same from the markers of the others, as plink would write them.
    with open_bed(cohort / "x.bed") as bed:
        others = np.r_[0:20, 40:60]
        people = {"fid": bed.iid, "iid": bed.iid, "chromosome": bed.chromosome[others]}
        to_bed(cohort / "others.bed", bed.read()[:, others], properties=people)
    assert_allclose(left.K, bl.genomic_kinship(cohort / "others").K, atol=2e-6)
    people = bl.measure(bl.read_table(cohort / "pheno.tsv"), ["a"])
    (one,) = bl.align(left, people)
    (block,) = dosages(genotypes, np.arange(80), [range(30, 31)])
    fit = bl.reml(bl.decompose(one.K).rotate(one.Y, np.column_stack([one.X[0], block.G])))
    assert_allclose(table.loc["sid31", ["beta", "se"]].astype(float), [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)


def test_the_last_markers_are_summed_not_subtracted(cohort):
    """One marker of 60 is left: of a difference, rounding would be a good part."""
    genotypes = open_genotypes(cohort / "x")
    left = without(bl.genomic_kinship(genotypes), genotypes, range(1, 60))
    with open_bed(cohort / "x.bed") as bed:
        g = bed.read()[:, 0]
    mean = np.nanmean(g)
    w = np.nan_to_num(g - mean) / np.sqrt(mean * (1 - mean / 2))
    assert_allclose(left.K, np.outer(w, w), rtol=1e-6)  # dosages are standardised in float32


def test_a_kinship_from_elsewhere(cohort):
    bl.write_grm(bl.genomic_kinship(cohort / "x"), cohort / "k")
    _, own = scan(cohort)
    _, given = scan(cohort, "--grm", str(cohort / "k"), out="given")
    mine, theirs = (of_trait(out) for out in (own, given))
    assert_allclose(mine["p_wald"], theirs["p_wald"], rtol=1e-4)  # a .grm.bin is in float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loco", "--grm", "k"], "--loco computes its kinships from --bfile"),
        (["--loco", "--eigen", "e.npz"], "--eigen holds one decomposition"),
        (["--loco", "--epistasis", "pairs.txt"], "--epistasis tests markers of two chromosomes"),
        (["--interaction", "age"], "interaction age: .* but it is none of the covariates intercept"),
        (["--covariate-effects"], "--covariate-effects needs --test null"),
        (["--prior-effect", "0"], "--prior-effect must be a number above 0, but 0 was given"),
        (["--prior-effect", "inf"], "--prior-effect must be a finite number, but inf was given"),
        (["--posterior-top", "-1"], "--posterior-top must be at least 0"),
        (["--posterior", "rs1"], "--posterior rs1: .*has none of this name, but sid1, sid2, sid3 and 57 more"),
        (["--maf", "0.7"], "maf must be at least 0 and below 0.5"),
        (["--maf", "0.499999"], "no marker is left of 60"),
        (["--columns", "ldsc", "--ols"], "--columns ldsc has no columns for --ols"),
        (["--columns", "gwas-ssf", "--format", "parquet"], "--columns gwas-ssf is text"),
        (["--grm", "k", "--scale", "sample"], "--scale applies to genotypes"),
    ],
)
def test_options_that_cannot_work_are_refused(cohort, capsys, options, message):
    code, _ = scan(cohort, *options)
    error = refused(capsys, code)
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_one_chromosome_leaves_nothing_to_loco(cohort, capsys):
    bim = cohort / "x.bim"
    bim.write_text("".join(f"7\t{line.split(chr(9), 1)[1]}\n" for line in bim.read_text().splitlines()))
    code, _ = scan(cohort, "--loco")
    assert "all markers used are on one chromosome" in refused(capsys, code)


def test_so_many_copies_double_a_p_value_of_a_skewed_trait():
    """Sums of m exponential residuals are gamma: beyond 3.89 sd more often than normal ones, by 2 at the m returned."""
    n = 2_000
    skewed, normal = (law.ppf((np.arange(n) + 0.5) / n) for law in (gamma(1), norm))
    ids, names = tuple(map(str, range(n))), ("intercept",)
    Y, X = np.column_stack([skewed, normal]), np.ones((n, 1))
    cohort = Cohort(ids, ("skewed", "normal"), (names, names), np.eye(n), Y, (X, X))
    found = least_allele_counts(cohort)
    assert found["normal"] == 0
    m = found["skewed"]
    assert 100 < m < 135  # a sample of 2,000 has a lighter tail than the 131 of the law
    law, z = gamma(m), norm.isf(0.5e-4)
    assert_allclose(law.sf(m + z * np.sqrt(m)) + law.cdf(m - z * np.sqrt(m)), 2e-4, rtol=0.35)


@pytest.mark.parametrize(("n", "c", "said"), [(40, 13, True), (50, 1, True), (1000, 200, True), (1410, 1, False)])
def test_small_samples_are_told_to_read_the_wald_test(n, c, said):
    """Where p_wald is 1e-4 the likelihood ratio of the same marker is n log(1 + F / df), referred to chi-square."""
    of = {"tested": 9, "n": n, "covariates": ["x"] * c, "below_least": 0}
    cautions = scan_cautions("y", of)
    assert len(cautions) == said
    if said:
        F = student.isf(0.5e-4, n - c - 1) ** 2
        (found, advice), p_lrt = cautions[0], chi2.sf(n * np.log1p(F / (n - c - 1)), 1)
        assert f"leave {n - c:,} degrees of freedom" in found
        assert f"read p_wald: p_lrt, which takes the sample for large, is {1e-4 / p_lrt:.2g} times too small" in advice


def test_rare_alleles_of_a_skewed_trait_are_told_in_terminal_and_report(cohort, capsys):
    table = pd.read_csv(cohort / "pheno.tsv", sep="\t")
    table["a"] = np.exp(3 * table["a"])
    table.to_csv(cohort / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    code, out = scan(cohort, traits=("a", "b"))
    assert code == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "CAUTION" in line]
    assert re.search(r"60 of 60 markers have fewer than [\d,]+ copies of the rarer allele, and a is skewed", line)
    assert "copies of the rarer allele, and a is skewed" in (out / "report.html").read_text()
