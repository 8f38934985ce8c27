import re
import subprocess

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text()
TERMS = (ROOT / "docs" / "terms.md").read_text()


def test_the_python_of_the_readme_runs(monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "0.598" in printed  # REML of h2
    assert "h2[CD8]" in printed


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_targets_of_the_readme_exist():
    for target in re.findall(r"^    make (\w+)", README, flags=re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_options_of_the_readme_exist():
    from bayeslmm.cli import _parser

    commands = next(action for action in _parser()._actions if action.choices)
    known = {option for command in commands.choices.values() for option in command._option_string_actions}
    assert set(re.findall(r"(?<=[`\s(])--[a-z][a-z0-9-]+", README)) <= known


@pytest.mark.parametrize("command", re.findall(r"^    bayeslmm (.+)$", TERMS, flags=re.MULTILINE))
def test_commands_of_the_map_of_terms_can_be_typed(command):
    from bayeslmm.cli import _parser

    _parser().parse_args(command.split())


def test_options_of_the_map_of_terms_exist():
    """In the column of ours: those of the other programs are theirs."""
    from bayeslmm.cli import _parser

    commands = next(action for action in _parser()._actions if action.choices)
    known = {option for command in commands.choices.values() for option in command._option_string_actions}
    ours = [line.split("|")[2] for line in TERMS.splitlines() if line.startswith("| ") and line.count("|") == 3]
    assert len(ours) > 50
    assert set(re.findall(r"(?<=[`\s(])--[a-z][a-z0-9-]+", " ".join(ours))) <= known


def test_links_of_the_map_of_terms_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", TERMS):
        assert (ROOT / "docs" / link).exists()
