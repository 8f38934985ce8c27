import re
import subprocess

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text()


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
