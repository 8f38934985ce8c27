"""What the site is made of; `make docs` builds it, and refuses links that lead nowhere."""

import re
import sys

import pytest
import yaml

import bayeslmm as bl
from bayeslmm.commands.parser import commands_of, parser
from conftest import ROOT

NOTHING = {"page": None, "config": None, "files": None}
NAV = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text())["nav"]


@pytest.fixture(scope="module")
def hooks():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import hooks
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return hooks


def test_every_page_of_the_documentation_is_in_the_navigation(hooks):
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {str(path.relative_to(ROOT).with_suffix(".md")) for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert pages | notebooks <= {*hooks._leaves(NAV)}


def test_the_reference_has_every_option_of_every_command(hooks):
    page = hooks._options()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    commands = commands_of(parser())
    assert [*sections] == [*commands]
    for name, command in commands.items():
        for action in command._actions:
            if action.option_strings and action.dest != "help":
                assert f"| `{action.option_strings[0]}" in sections[name]
    assert "%(default)s" not in page


def test_the_reference_has_every_public_name(hooks):
    named = re.findall(r"^::: bayeslmm\.(\S+)$", hooks._python(), flags=re.MULTILINE)
    assert sorted(name for name in named if "." not in name) == sorted(bl.__all__)
    assert "models.univariate" in named


def test_formulas_become_mathml(hooks):
    html = hooks.on_page_content("<p>:math:<code>a &lt; \\frac12</code>, $<code>s_i</code>$</p>", **NOTHING)
    assert html.count("<math") == html.count("</math>") == 2
    assert "<mfrac>" in html
    assert "&#x0003C;" in html
    assert "code" not in html
    assert "$" not in html


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ("../notebooks/06_own.ipynb", "../notebooks/06_own.md"),
        ("a/b.py", "a/b.py.md"),
        ("c.md", "c.md"),
        ("d.png", "d.png"),
    ],
)
def test_notebooks_and_programs_are_pages(hooks, link, page):
    text = hooks.on_page_markdown(f"see [it]({link}) and [there](https://x.org/a.py)", **NOTHING)
    assert text == f"see [it]({page}) and [there](https://x.org/a.py)"
