"""What is needed to release: it names files, versions and dependencies that are those of the package."""

import re
import subprocess
import tomllib

import yaml

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "docs" / "packaging" / "Dockerfile").read_text()


def test_the_image_is_made_of_files_that_git_has_and_docker_sees():
    copied = [name for line in re.findall(r"^COPY (.*) /src\S*$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert {"pyproject.toml", "bayeslmm", "models", PROJECT["readme"], *PROJECT["license-files"]} <= {*copied}
    tracked = subprocess.run(["git", "ls-files", *copied], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.split("/")[0] for name in tracked.splitlines()} == {*copied}
    seen = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert {*seen} == {*copied}


def test_the_image_has_extras_that_there_are():
    (extras,) = re.findall(r'"/src\[(.*)\]"', DOCKERFILE)
    assert {*extras.split(",")} <= {*PROJECT["optional-dependencies"]}


def test_the_recipe_of_conda_has_the_dependencies_of_the_package():
    recipe = yaml.safe_load((ROOT / "docs" / "packaging" / "recipe.yaml").read_text())
    needed = [f"python {PROJECT['requires-python']}"]
    needed += [re.sub(r"(?=>)", " ", name, count=1) for name in PROJECT["dependencies"]]
    assert recipe["requirements"]["run"] == [name.replace("matplotlib ", "matplotlib-base ") for name in needed]
    (entry,) = [f"{name} = {where}" for name, where in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == [entry]


def test_one_version_everywhere():
    recipe = yaml.safe_load((ROOT / "docs" / "packaging" / "recipe.yaml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {recipe["context"]["version"], citation["version"]} == {PROJECT["version"]}
    assert citation["license"] == recipe["about"]["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= {*citation}


def test_the_wheel_has_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "bayeslmm").rglob("__init__.py")}
    assert set(listed) == there | {"bayeslmm.models"}
    assert len(set(listed)) == len(listed)
