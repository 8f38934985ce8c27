"""Imports point down: a module may import those above it in this list, and none below."""

import ast
import pickle

import pytest

import bayeslmm as bl
from conftest import ROOT

ORDER = [
    "checks", "memory", "progress", "terminal", "files", "failures", "results_folder", "engine", "tables", "bim",
    "marker_filters", "genotypes", "coalescent", "dosages", "kinship", "kinship_files", "pedigree",
    "design", "cohort", "joint_cohort", "spectrum", "simulate",
    "precision", "parameters", "small_matrices", "likelihood", "priors",
    "estimators.estimate", "estimators.traces", "estimators.variance_ratio", "estimators.ml", "estimators.reml",
    "estimators.em", "ratio_grid", "marker_gains", "scan",
    "information", "estimators.moments", "estimators.scaled_lasso", "estimators.joint_whitening",
    "estimators.joint_moments", "estimators.joint_reml", "exact", "boundary", "joint_information", "conventions",
    "nuts", "sampling", "models.univariate", "models.multivariate", "models.bivariate", "own_program",
    "diagnostics", "checked_draws", "results", "site_results", "joint_results", "heritability", "correlations",
    "compare", "plots", "site_plots", "joint_plots", "coverage", "calibration", "calibration_plots", "summary",
    "scan_summary", "lights", "citations", "report", "report_parts",
    "option_checks", "job", "h2_command", "compare_command", "rg_command", "calibrate_command",
    "epistasis", "scan_table", "cohort_scan", "scan_parts", "scan_plots", "scan_command",
    "simulate_command", "cli_options", "cli", "__main__",
]  # fmt: skip


def modules():
    files = [*(ROOT / "bayeslmm").glob("*.py"), *(ROOT / "bayeslmm" / "estimators").glob("*.py")]
    names = {".".join(path.relative_to(ROOT / "bayeslmm").with_suffix("").parts): path for path in files}
    names |= {f"models.{path.stem}": path for path in (ROOT / "models").glob("*.py")}
    return {name: path for name, path in names.items() if not name.endswith("__init__")}


def test_every_module_has_its_place():
    assert sorted(modules()) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_down(name):
    imported = set()
    tree = ast.parse(modules()[name].read_text())
    # What a program does as a script is the command line's.
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if __name__ == '__main__':")]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bayeslmm"):
            module = node.module.removeprefix("bayeslmm").removeprefix(".")
            inner = [".".join(filter(None, [module, alias.name])) for alias in node.names]
            imported |= {candidate for candidate in [module, *inner] if candidate in ORDER}
    below = ORDER[: ORDER.index(name)]
    assert imported <= set(below), f"{name} imports {sorted(imported - set(below))}, which stand above it"


def test_the_package_can_be_sent_to_other_processes():
    """Dask and joblib send functions of a script or a notebook with the modules that they name."""
    assert pickle.loads(pickle.dumps(bl)) is bl


def test_sampling_knows_no_program():
    for node in ast.walk(ast.parse((ROOT / "bayeslmm" / "sampling.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert "models" not in (node.module or "")
