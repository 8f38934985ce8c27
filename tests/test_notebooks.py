"""Notebooks run, what they assert holds, and git has them without outputs."""

import os
import subprocess
import sys

import nbformat
import pytest

from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_list_of_notebooks_is_complete():
    listed = (ROOT / "notebooks" / "README.md").read_text()
    assert NOTEBOOKS
    assert all(f"({path.name})" in listed for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


# In a process of its own: sockets that Jupyter leaves to the garbage collector are no warnings of ours. The site shows
# what it keeps.
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    imports = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": imports, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "docs" / "run_notebook.py"), str(path)]
    run = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
