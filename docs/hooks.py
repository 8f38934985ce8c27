"""What the site is made of: files of the repository, under their own paths so that links between them hold.

Pages are those of the navigation and those that they link to; notebooks are shown with their outputs, Python files as
text. The reference of options is made from the parser, that of Python from the list of public names.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from run_notebook import ROOT, markdown

from bayeslmm.commands.options import Formatter
from bayeslmm.commands.parser import commands_of, parser

_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
_FORMULA = re.compile(r"(?::math:|\$)<code>(.*?)</code>\$?")
_WIDE = 45
_SHOWN_AS_PAGES = {".ipynb": ".md", ".py": ".py.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let blocks of ``math`` be formulas."""
    fence = {"name": "math", "class": "math", "format": _displayed}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the navigation, and all that they link to."""
    waiting = [*_leaves(config.nav)]
    while waiting:
        name = waiting.pop()
        if name in files.src_uris:
            continue
        for file in _files_of(name, config):
            files.append(file)
        if name.endswith(".md"):
            links = _LINK.findall(files.src_uris[name].content_string)
            waiting += [_page_of(normpath(join(dirname(name), link))) for link in links]
    return files


def on_page_markdown(text: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to notebooks and Python files lead to their pages."""
    return _LINK.sub(lambda link: _page_of(link.group()), text)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas, in docstrings and in pages, as MathML."""
    return _FORMULA.sub(lambda found: _in_text(unescape(found[1])), html)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse pages that would load anything from elsewhere.

    Raises:
        PluginError: naming the first of them.
    """
    outside = re.compile(r"""<(?:script|img|iframe)[^>]* src=["']?(?:https?:)?//|<link[^>]* href=["']?(?:https?:)?//""")
    for path in Path(config.site_dir).rglob("*.html"):
        if found := outside.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} loads something from elsewhere: {found.group()}")


def _in_text(formula: str) -> str:
    """Return a formula in a line as MathML; one that may be wider than a telephone can be scrolled."""
    written = convert(formula)
    return f'<span class="formula">{written}</span>' if len(formula) > _WIDE else written


def _displayed(formula: str, *_: object, **__: object) -> str:
    return f'<div class="formula">{convert(formula, display="block")}</div>'


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(part)


def _page_of(name: str) -> str:
    path = Path(name)
    return f"{path.parent / path.stem}{_SHOWN_AS_PAGES[path.suffix]}" if path.suffix in _SHOWN_AS_PAGES else name


def _files_of(name: str, config: MkDocsConfig) -> Iterator[File]:
    """Yield the file of a page, or whatever has this name, and what it needs."""
    path = ROOT / name
    if name in _GENERATED:
        yield File.generated(config, name, content=_GENERATED[name]())
    elif path.is_file():
        yield File.generated(config, name, abs_src_path=str(path))
    elif (notebook := path.with_suffix(".ipynb")).is_file():
        text, pictures = markdown(notebook)
        yield File.generated(config, name, content=text)
        for picture, content in pictures.items():
            yield File.generated(config, join(dirname(name), picture), content=content)
    elif (source := path.with_suffix("")).is_file():
        title = f"# {source.relative_to(ROOT)}"
        yield File.generated(config, name, content=f"{title}\n\n```python\n{source.read_text()}```\n")
    else:
        raise PluginError(f"{name} is linked to, and is not there")


def _options() -> str:
    """Return the reference of the command line."""
    lines = ["# Options", "", "What each command takes, as `bayeslmm COMMAND --help` prints it.", ""]
    for name, command in commands_of(parser()).items():
        lines += [f"## {name}", ""]
        for group in command._action_groups:
            if actions := [action for action in group._group_actions if action.dest != "help"]:
                lines += [f"**{(group.title or '').capitalize()}**", "", "| option | what |", "|---|---|"]
                lines += [f"| {_typed(action)} | {_told(command, action)} |" for action in actions]
                lines.append("")
    return "\n".join(lines)


def _typed(action: argparse.Action) -> str:
    formatter = Formatter("")
    return f"`{formatter._format_action_invocation(action)}`".replace("|", "\\|")


def _told(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    return command._get_formatter()._expand_help(action).replace("|", "\\|").replace("<", "&lt;")


def _python() -> str:
    """Return the reference of Python: the public names, by the folder that they come from."""
    names: dict[str, list[str]] = {}
    for line in (ROOT / "bayeslmm" / "__init__.pyi").read_text().splitlines():
        if found := re.match(r"from \.(\S*) import (\w+) as \2", line):
            names.setdefault(found[1].split(".")[0] or "models", []).append(found[2])
    lines = ["# Python", "", "All public names, as `bl.NAME` after `import bayeslmm as bl`.", ""]
    programs = sorted(path.stem for path in (ROOT / "models").glob("[a-z]*.py"))
    names["models"] += [f"models.{program}" for program in programs]
    for folder in sorted(names, key=_FIRST.index):
        about = ast.get_docstring(ast.parse((ROOT / "bayeslmm" / folder / "__init__.py").read_text()))
        lines += [f"## {folder}", "", about or "", "", *(f"::: bayeslmm.{member}\n" for member in names[folder])]
    return "\n".join(lines)


_FIRST = (
    "dataframes",
    "analyses",
    "cohort",
    "kinship",
    "genotypes",
    "likelihood",
    "estimators",
    "posterior",
    "models",
    "scan",
    "studies",
    "base",
)
"""Folders in the order in which users meet them."""

_GENERATED = {"docs/reference/options.md": _options, "docs/reference/python.md": _python}
