import re
import shlex
import subprocess

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
TERMS = (ROOT / "docs" / "terms.md").read_text()
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "validation" / "README.md"]
TYPED = [
    command for page in PAGES for command in re.findall(r"^ {4,}bayeslmm (.+)$", page.read_text(), flags=re.MULTILINE)
]


@pytest.mark.slow
def test_the_python_of_the_readme_runs(monkeypatch, capsys):
    _, code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)  # the first: tests/dataframes
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "0.598" in printed  # REML of h2
    assert "h2[CD8]" in printed


@pytest.mark.slow
def test_the_python_of_the_pages_runs(monkeypatch):
    import matplotlib as mpl

    mpl.use("agg")
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "how-to" / "dataframes.md").read_text()
    names = {}
    first, *_, last = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)  # those between: tests/dataframes
    for code in (first, last):
        exec(compile(code, "dataframes.md", "exec"), names)
    mpl.pyplot.close("all")
    assert abs(names["fit"].summary().loc["h2", "estimate"] - 0.469) < 0.001


@pytest.mark.slow
def test_the_python_of_genetic_correlations_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "how-to" / "genetic_correlation.md").read_text()
    names = {}
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "genetic_correlation.md", "exec"), names)
    printed = re.findall(r"^\| (\w+) \| (-?0\.\d+) \| (0\.\d+) \|$", page, flags=re.MULTILINE)
    assert [(name, f"{rho:.3f}", f"{error:.3f}") for name, rho, error in names["found"].itertuples()] == printed


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_targets_of_the_readme_exist():
    for target in re.findall(r"^    make (\w+)", README, flags=re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_commands_of_the_readme_are_all_there_are():
    listed = re.findall(r"^\| `bayeslmm (\w+)` \|", README, flags=re.MULTILINE)
    assert sorted([*listed, "completion", "demo"]) == sorted(_commands())


@pytest.mark.parametrize("command", TYPED)
def test_commands_of_the_pages_can_be_typed(command):
    from bayeslmm.commands.parser import parser

    words = shlex.split(command)
    if "--config" not in words:  # whose file has what is missing
        parser().parse_args(words)


def test_options_of_the_pages_exist():
    """In the map of terms, those in the column of ours: others are those of other programs."""
    from bayeslmm.commands.parser import parser

    parsers = [parser(), *_commands().values()]
    known = {option for one in parsers for option in one._option_string_actions}
    ours = [line.split("|")[2] for line in TERMS.splitlines() if line.startswith("| ") and line.count("|") == 3]
    assert len(ours) > 50
    for text in (README, COMMANDS, " ".join(ours)):
        assert set(re.findall(r"(?<=[`\s(])--[a-z][a-z0-9-]+", text)) <= known


def _commands():
    from bayeslmm.commands.parser import commands_of, parser

    return commands_of(parser())
