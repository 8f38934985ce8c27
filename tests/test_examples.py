"""The examples for Snakemake and Nextflow: what their jobs would run, run here, by the shell and in their order."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from conftest import MOUSE, ROOT

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def project(tmp_path):
    """The folder of a user: mice, tables, and the file of options."""
    for name in ("bed", "bim", "fam"):
        (tmp_path / f"mice.{name}").symlink_to(MOUSE / f"mouse_hs1940.{name}")
    for name in ("pheno.tsv", "covar.tsv"):
        (tmp_path / name).symlink_to(MOUSE / name)
    shutil.copy(EXAMPLES / "bayeslmm.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bayeslmm").write_text(f'#!/bin/sh\nexec {sys.executable} -m bayeslmm "$@"\n')
    (tmp_path / "bin" / "bayeslmm").chmod(0o755)
    return tmp_path


def run(command, folder):
    """Run a command as a job would be run, but with a method that is quick."""
    environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    quick = command.replace("bayeslmm h2 ", "bayeslmm h2 --methods reml ")
    done = subprocess.run(quick, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def rules():
    """Return the sections of each rule of the Snakefile, as text."""
    text = (EXAMPLES / "Snakefile").read_text()
    return {
        name: dict(re.findall(r"^    (\w+):\s*(.*?)\s*(?=^    \w+:|\Z)", body, flags=re.MULTILINE | re.DOTALL))
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    }


def shell(rule, **values):
    """Return the command of a rule, with its wildcards filled in."""
    command = "".join(re.findall(r'"(.*)"', rule["shell"]))
    for name, value in values.items():
        command = command.replace(f"{{{name}}}", value)
    assert "{" not in command
    return command


@pytest.mark.slow
def test_the_rules_of_snakemake_run(project):
    of = rules()
    assert list(of) == ["all", "kinship", "h2"]
    (project / "logs").mkdir()  # Snakemake makes the folders of logs and outputs
    (config,) = {*re.findall(r'config="(.*?)"', of["kinship"]["input"] + of["h2"]["input"])}
    filled = {"input.config": config, "threads": of["kinship"]["threads"], "log": "logs/kinship.log"}
    run(shell(of["kinship"], **filled), project)
    suffixes = re.findall(r'"(\.grm\.\S+?)"', of["kinship"]["output"])
    assert sorted(path.name for path in project.glob("mice.grm.*")) == sorted(f"mice{suffix}" for suffix in suffixes)
    (output,) = re.findall(r'"(.*?)"', of["h2"]["output"])
    filled |= {"wildcards.trait": "CD8", "output": output.replace("{trait}", "CD8"), "log": "logs/CD8.log"}
    run(shell(of["h2"], **filled), project)
    table = pd.read_csv(project / "results" / "CD8" / "estimates.tsv", sep="\t")
    assert "beta[sex[2]]" in set(table["parameter"])
    assert "heritability of CD8" in (project / "logs" / "CD8.log").read_text()


@pytest.mark.slow
def test_the_process_of_nextflow_runs(project):
    text = (EXAMPLES / "main.nf").read_text()
    defaults = dict(re.findall(r"^params\.(\w+) = '(.*)'$", text, flags=re.MULTILINE))
    (script,) = re.findall(r'"""\n(.*?)"""', text, flags=re.DOTALL)
    (cpus,) = re.findall(r"^ +cpus (\d+)$", text, flags=re.MULTILINE)
    prefix, suffixes = re.fullmatch(r"(\w+)\.\{(.*)\}", defaults["genotypes"]).groups()
    assert all((project / f"{prefix}.{suffix}").exists() for suffix in suffixes.split(","))
    filled = {"prefix": prefix, "pheno": defaults["pheno"], "trait": defaults["traits"], "task.cpus": cpus}
    command = script.replace("\\\\\n", "\\\n")
    for name, value in filled.items():
        command = command.replace(f"${{{name}}}", value)
    assert "${" not in command
    run(command, project)
    produced = re.findall(r'^ +path "(.*)"$', text, flags=re.MULTILINE)
    assert all((project / name.replace("${trait}", "CD8")).exists() for name in produced)
