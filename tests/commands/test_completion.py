import shutil
import subprocess

import pytest

from bayeslmm.commands.completion import completion
from bayeslmm.commands.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_is_one_of_its_shell(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "--covariates-of" in script or shell == "tcsh"  # whose completion has no options of commands
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def completed(words):
    """Return what bash offers for the last of these words."""
    script = f"""{completion("bash")}
COMP_WORDS=({" ".join(words)} '') COMP_CWORD={len(words)} COMP_TYPE=9 COMP_LINE='{" ".join(words)} '
COMP_POINT=${{#COMP_LINE}}
$(complete -p bayeslmm | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is absent")
def test_bash_completes_commands_choices_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pheno.tsv").touch()
    (tmp_path / "folder").mkdir()
    assert {"h2", "scan", "completion"} <= {*completed(["bayeslmm"])}
    assert {"average", "expected", "observed"} == {*completed(["bayeslmm", "h2", "--se"])}
    assert "pheno.tsv" in completed(["bayeslmm", "h2", "--pheno"])
    assert completed(["bayeslmm", "h2", "--out"]) == ["folder"]
    for option in ("--maf", "--formula", "--trait"):
        assert completed(["bayeslmm", "h2", option]) == []
