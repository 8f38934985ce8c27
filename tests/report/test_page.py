"""The page of a run: one file, whatever things are called, that says what the terminal says."""

import ast
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest

from bayeslmm.analyses.compare import SOURCES
from bayeslmm.analyses.correlations import JOINT_METHODS
from bayeslmm.analyses.heritability import METHODS
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row
from bayeslmm.analyses.variance_components import COMPONENT_METHODS
from bayeslmm.commands.main import main
from bayeslmm.posterior.diagnostics import Diagnostics, check_values
from bayeslmm.report import scan
from bayeslmm.report.checks import check_of_scale, checks_of_draws, checks_of_estimates
from bayeslmm.report.citations import sources
from bayeslmm.report.page import MOST_PICTURES, Headline, Part, Report, Shown, causes, write_report
from bayeslmm.report.pictures import write_pictures
from bayeslmm.report.plots.panels import Panel
from conftest import ROOT

VOID = {"meta", "link", "img", "br", "hr", "input"}
TRAIT = "<b>&x"


class Page(HTMLParser):
    """Checks that tags close in order; keeps the text, and what is loaded or linked."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loaded, self.linked, self.said = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.loaded += [attrs[name] for name in ("src", "xlink:href") if name in attrs]
        (self.linked if tag == "a" else self.loaded).extend([attrs["href"]] if "href" in attrs else [])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.said.append(" " * (tag in ("td", "th")))

    def handle_data(self, data):
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self):
        return " ".join("".join(self.said).split())


@pytest.fixture
def run(plink, tmp_path, rng, capsys):
    """`bayeslmm h2` on a trait that is called like HTML; the terminal and the page."""
    rows = "".join(f"p{i}\t{'NA' if i < 2 else f'{rng.standard_normal():.4f}'}\n" for i in range(30))
    (tmp_path / "pheno.tsv").write_text(f"IID\t{TRAIT}\n{rows}")
    arguments = ["h2", "--bfile", str(plink[0]), "--pheno", str(tmp_path / "pheno.tsv"), "--trait", TRAIT]
    assert main([*arguments, "--methods", "reml", "exact", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    return SimpleNamespace(printed=capsys.readouterr().out, text=text, page=Page(text))


@pytest.mark.slow
def test_a_page_is_whole_and_loads_nothing(run):
    page = run.page
    assert all(address.startswith(("#p", "data:image/png;base64,")) for address in page.loaded)
    assert {address[1:] for address in page.loaded if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    inside = [link for link in page.linked if link.startswith("#")]
    assert {link[1:] for link in inside} <= set(page.ids)
    assert all(
        link.startswith(("https://doi.org/10.", "https://arxiv.org/abs/")) for link in page.linked[len(inside) :]
    )
    assert "default-src 'none'" in run.text
    assert "@import" not in run.text
    assert {link for link in re.findall(r"url\((.*?)\)", run.text) if not link.startswith("#")} == set()
    assert "<script" not in run.text


def test_names_are_text(run):
    assert f"Heritability of {TRAIT}" in run.page.text
    assert "<b>" not in run.text


def test_the_page_says_what_the_terminal_says(run):
    (answer,) = [line for line in run.printed.splitlines() if line.startswith("heritability of")]
    interval = r"with 95% probability between 0\.\d+ and [01]\.\d+"
    assert re.fullmatch(rf"heritability of .*: 0\.\d+ \(posterior mean, exact\), {interval}", answer)
    assert f'<p class="answer">{html.escape(answer)}</p>' in run.text
    told = ("individuals with", "dropped: 2 without", "h2 ")
    lines = [
        line for line in run.printed.splitlines() if any(words in line for words in told[:2]) or line[:3] == told[2]
    ]
    assert len(lines) == 3
    for line in lines:
        assert all(word in run.page.text for word in line.split("  ") if word)
    (markers,) = [line for line in run.printed.splitlines() if line.startswith("markers: ")]
    assert markers.removeprefix("markers: ") in run.page.text


def diagnostics(*values):
    return Diagnostics(*values, check_values(*values, chains=4))


def test_draws_have_checks():
    checks = checks_of_draws(diagnostics(1.006, 900.0, 80.0, 0, 0.9))
    assert [check.state for check in checks] == ["look", "fine", "failed", "fine", "fine"]
    assert checks[2].text == "tail ESS 80"
    again = checks_of_draws(replace(diagnostics(1.0, 900.0, 900.0, 0, 0.9), drawn_again="why"))[-1]
    assert (again.state, again.meaning, again.advice) == ("fine", "why", "")
    assert checks_of_draws(None) == []


def test_estimates_that_warn_of_themselves_are_worth_a_look():
    rows = [
        Row("y", "reml", "h2", 0.0, interval="profile95", notes=(Note("boundary", "boundary: h2 = 0"),)),
        Row("y", "mom", "h2", 1.2, notes=(Note("outside", "sigma2_e is negative"),)),
        Row("y", "em", "h2", 0.1, notes=(Note("info", "30 random effects"), Note("not_converged", "NOT the maximum"))),
        Row("y", "rhe", "h2", 0.5, notes=(Note("monte_carlo", "Monte Carlo error 0.01", 0.01),)),
        Row("y", "mom", "sigma2_u", 1.2, notes=(Note("wald_outside", "the Wald interval leaves the space"),)),
    ]
    checks = checks_of_estimates(rows)
    assert [check.text for check in checks] == ["h2 of y by reml is 0", "h2 of y by mom is 1.2", "h2 of y by em is 0.1"]
    assert {check.state for check in checks} == {"look"}
    assert "prefer the posterior" in checks[0].advice
    assert checks[2].advice == "30 random effects; NOT the maximum"


def test_scale_and_inflation_have_checks():
    assert [check_of_scale(value).state for value in (0.89, 1.0, 1.11)] == ["look", "fine", "look"]
    assert "read pve" in check_of_scale(0.36).advice
    states = [scan.check_of_inflation(value, 100_000).state for value in (0.9, 1.0, 1.06)]
    assert states == ["look", "fine", "look"]
    assert scan.check_of_inflation(1.06, 10_000).state == "fine"  # three standard errors are 7% there
    assert "the kinship of all others" in scan.check_of_inflation(0.9, 100_000).advice


RECORD = {
    "command": ["bayeslmm", "h2", "--pheno", "my file.tsv"],
    "versions": {"bayeslmm": "0"},
    "options": {"centre": False, "normalise": True, "trait": ["a"], "pheno": "my file.tsv", "pedigree": "p.csv"},
    "prior": {"h2": "Uniform(low=0, high=1)"},
    "convention": "y = X beta + g + e",
    "kinship": {"source": "p.csv", "n": 12345},
    "started": "2026-01-02T03:04:05+00:00",
    "inputs_sha256": {"my file.tsv": "ab"},
    "seconds": {"tables": 1.0},
    "peak_rss_mb": 1000,
}


def part(name, *, pictures=(), checks=(), sentences=("a", "  b")):
    table = pd.DataFrame({"h2": [0.123456], "n": [12345], "big": [54321.4], "none": [float("nan")]}, index=["x"])
    return Part(
        name,
        individuals="individuals",
        headlines=[Headline(name, "h2", "0.5", "0.4 to 0.7", bar=(0.5, 0.4, 0.7, "0", "1"))],
        sentences=list(sentences),
        pictures=pictures,
        tables=[Shown("t", table)],
        checks=checks,
    )


def test_a_page_of_many_traits_says_what_it_leaves_out(tmp_path):
    panel = Panel(name="x", title="t", caption="caption", draw=lambda ax: ax.set_title("left out"))
    (picture,) = write_pictures([panel], tmp_path, "a", of="a")
    parts = [part(f"t{i}", pictures=[picture]) for i in range(MOST_PICTURES + 3)]
    parts.append(part("t", pictures=[picture] * 2))
    write_report(Report("t", "q", parts, ["r"]), RECORD, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert text.count("<svg role=") == MOST_PICTURES
    assert len(page.ids) == len(set(page.ids))
    assert "5 more pictures are beside this page" in page.text
    assert page.text.count("individuals") == 2  # once for all traits, and of the kinship
    assert "12,345 individuals" in page.text
    assert "0.1235 12,345 54,321" in page.text
    assert "bayeslmm h2 --pheno 'my file.tsv'" in page.text
    assert "divided by its mean diagonal" in page.text
    assert "Henderson (1976)" in page.text


def test_failures_are_said_beside_the_answer(tmp_path):
    failed = checks_of_draws(diagnostics(1.2, 900.0, 900.0, 0, 0.9))
    write_report(Report("t", "q", [part("a", checks=failed)], []), RECORD, tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text()).text
    assert "failed 1 of the checks failed: do not use these numbers" in text
    assert "R-hat is 1.200, and must be at most 1.01: " in text


def test_the_interval_of_each_trait_comes_before_the_rest(tmp_path):
    write_report(Report("t", "q", [part("first"), part("second")], []), RECORD, tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text()).text
    assert "Answer first 0.5 95% interval 0.4 to 0.7 h2 0 1 second 0.5 95% interval 0.4 to 0.7" in text
    assert 'd="M40.00 4H70.00"' in (tmp_path / "r.html").read_text()


def test_what_is_the_matter_with_many_traits_is_one_line(tmp_path):
    same = [part(f"t{k}", checks=[check_of_scale(0.80 + k / 1000), check_of_scale(1.0)]) for k in range(50)]
    other = part("u", checks=checks_of_draws(diagnostics(1.2, 900.0, 900.0, 0, 0.9)))
    found = causes([*same, other])
    assert [(cause.state, cause.name, len(cause.found)) for cause in found] == [
        ("failed", "R-hat", 1),
        ("look", "scale", 50),
        ("fine", "scale", 50),
        *[("fine", name, 1) for name in ("bulk ESS", "tail ESS", "divergences", "E-BFMI")],
    ]
    look = found[1]
    assert look.whose == "t0, t1, t2 and 47 more traits"
    assert look.texts[0] == "t0: mean diagonal of K 0.800"
    assert look.texts[-1] == "and 44 more (0.800 to 0.849 in all)"
    assert len(look.advice) <= 7
    assert found[2].texts == ["mean diagonal of K 1.000"]
    write_report(Report("t", "q", [*same, other], []), RECORD, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text().count('class="meaning"') == len(found)


def docstrings():
    """All docstrings of the package as one text."""
    files = [*(ROOT / "bayeslmm").rglob("*.py"), *(ROOT / "models").glob("*.py")]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return " ".join(ast.get_docstring(node) or "" for node in nodes)


def test_sources_are_those_of_the_docstrings():
    written = docstrings()
    everything = {"kinship": {"scale": "hwe"}, "options": {"pedigree": "p", "se": "average", "loco": True}}
    records = [*METHODS.values(), *JOINT_METHODS.values(), *COMPONENT_METHODS.values()]
    of_methods = [source for method in records for source in method.sources]
    cited = sources([*of_methods, *SOURCES, *scan.SOURCES.values(), *scan.ALL_SOURCES], everything)
    cited += sources([], {"kinship": {"scale": "vanraden"}, "options": {}})
    assert len(set(cited)) > 30
    for source in cited:
        assert source.where in written, source
        assert source.who.split(" et al")[0].split(",")[0].split(" and ")[0].split(" (")[0] in written, source
    assert Source("a", "arXiv:1", "").url == "https://arxiv.org/abs/1"
    assert Source("a", "JMLR 15:1593", "").url == ""


def test_symbols_keep_their_case(tmp_path):
    """H2 is another thing than h2."""
    sentences = ["heritability of a trait", "h2 = 0 is rejected", "p is small", "rho_u is 1"]
    write_report(Report("t", "q", [part("y", sentences=sentences)], []), RECORD, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    classes = [re.search(f'<p class="([a-z ]+)">{sentence}</p>', page)[1] for sentence in sentences]
    assert classes == ["answer", *["answer symbol"] * 3]
