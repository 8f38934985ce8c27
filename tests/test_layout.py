"""Imports point in one direction: a folder may import those before it in this list, and none after it."""

import ast
import pickle
from graphlib import TopologicalSorter
from importlib.metadata import version

import pytest

import bayeslmm as bl
from conftest import ROOT

ORDER = [
    "base", "genotypes", "kinship", "cohort", "likelihood", "estimators", "posterior", "models",
    "scan", "studies", "analyses", "report", "dataframes", "commands",
]  # fmt: skip
APART = {("studies", "scan"), ("analyses", "scan"), ("analyses", "studies")}
"""Folders that know nothing of each other, whatever their order."""


def modules():
    """Return the path of each module by its name without ``bayeslmm.``."""
    files = {path.relative_to(ROOT / "bayeslmm"): path for path in (ROOT / "bayeslmm").rglob("*.py")}
    files |= {path.relative_to(ROOT): path for path in (ROOT / "models").glob("*.py")}
    return {".".join(short.with_suffix("").parts).removesuffix(".__init__"): path for short, path in files.items()}


MODULES = modules()


def imported(name):
    """Return the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bayeslmm":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {known for full in (node.module, *inner) if (known := full.removeprefix("bayeslmm.")) in MODULES}
    return found


def folder(name):
    return name.split(".")[0]


@pytest.mark.parametrize("name", [name for name in MODULES if folder(name) in ORDER])
def test_imports_point_in_one_direction(name):
    allowed = ORDER[: ORDER.index(folder(name)) + 1]
    upwards = [other for other in imported(name) if folder(other) not in allowed]
    assert upwards == []
    assert [other for other in imported(name) if (folder(name), folder(other)) in APART] == []


def test_every_module_is_in_a_folder_of_the_list():
    assert {folder(name) for name in MODULES if name not in ("__init__", "__main__")} == set(ORDER)


def test_no_module_needs_itself():
    TopologicalSorter({name: imported(name) - {name} for name in MODULES}).prepare()


def test_the_package_can_be_sent_to_other_processes():
    """Dask and joblib send functions of a script or a notebook with the modules that they name."""
    assert pickle.loads(pickle.dumps(bl)) is bl


def test_sampling_knows_no_program():
    assert [name for name in MODULES if folder(name) == "posterior" and "models" in map(folder, imported(name))] == []


def test_the_version_is_that_of_the_installed_package():
    assert bl.__version__ == version("bayeslmm")
    with pytest.raises(AttributeError, match="nothing"):
        _ = bl.nothing
