"""Notebooks with what they print and draw: run once for each state of the code, and kept in ``.cache``.

``python docs/run_notebook.py NOTEBOOK`` runs one, whatever is kept.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_KEPT = ROOT / ".cache" / "notebooks"
_SECONDS = 300


def execute(path: Path) -> None:
    """Run a notebook, and keep it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", timeout=_SECONDS, resources=_where(path)).execute()
    _KEPT.mkdir(parents=True, exist_ok=True)
    for old in _KEPT.glob(f"{path.stem}-*"):
        old.unlink()
    temporary = _kept(path).with_suffix(f".{os.getpid()}")
    nbformat.write(notebook, temporary)
    temporary.replace(_kept(path))


def markdown(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook with its outputs as a page, and its pictures by name."""
    import nbformat
    from nbconvert import MarkdownExporter

    if not _kept(path).exists():
        # In a process of its own: sockets that Jupyter leaves to the garbage collector are no warnings of the site.
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, str(path)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{path} does not run: {run.stderr[-3000:]}")
    notebook = nbformat.read(_kept(path), as_version=4)
    for cell in notebook.cells:
        # Warnings of libraries name files of this machine.
        cell.outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    page, resources = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    )
    page = re.sub(r"<style scoped>.*?</style>", "", page, flags=re.DOTALL)
    page = re.sub(r'<table border="1" class="dataframe">', "<table>", page)
    return page, resources["outputs"]


def _where(path: Path) -> dict[str, dict[str, str]]:
    return {"metadata": {"path": str(path.parent)}}


def _kept(path: Path) -> Path:
    """Return where a notebook is kept, by what its outputs depend on."""
    code = hashlib.sha256(path.read_bytes())
    for file in sorted([*(ROOT / "bayeslmm").rglob("*.py"), *(ROOT / "models").glob("*.py")]):
        code.update(file.read_bytes())
    return _KEPT / f"{path.stem}-{code.hexdigest()[:16]}.ipynb"


if __name__ == "__main__":
    execute(Path(sys.argv[1]).resolve())
