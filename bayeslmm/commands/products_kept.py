"""Products of a run that are kept in the folder of its results while it goes on, so that `--resume` can go on."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayeslmm.base.checkpoints import check_checkpoints, checkpoints, open_checkpoints
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.run import Run
from bayeslmm.commands.settings import OF_THE_RUN
from bayeslmm.kinship.kept_products import NAMES, KeptProducts
from bayeslmm.kinship.products import Products

FOLDER = "products"
"""Of a folder of results, with the products."""

_OF_INFERENCE = {
    "kinship_as", "methods", "se", "mom_se", "prior_h2", "prior_eta", "chains", "draws", "warmup",
    "target_accept", "draws_groups", "prevalence", "complete_only",
}  # fmt: skip


def products_folder(run: Run) -> Path:
    """Return where the products of a run are kept."""
    return run.out / FOLDER


def is_unfinished(run: Run) -> bool:
    """Whether a run that was stopped has left products in its folder."""
    return bool(checkpoints(products_folder(run), NAMES))


@contextmanager
def keep_products(run: Run, inputs: Inputs[Any], *, resume: bool) -> Iterator[Inputs[Any]]:
    """Keep products in the folder of the results, until the block ends well; a matrix is left as it is.

    Args:
        run: of the command.
        inputs: what was read.
        resume: go on with the products that are there.

    Raises:
        InputError: if there are products of another run.
    """
    folder = products_folder(run)
    if not isinstance(inputs.kinship, Products):
        if resume:
            print("--resume: nothing is kept of a kinship that is held as a matrix, the run begins anew")
        yield inputs
        return
    identity = _identity(run, inputs)
    check_checkpoints(folder, identity, names=NAMES, what="run", resume=resume)
    if resume:
        there = len(checkpoints(folder, NAMES))
        print(
            f"{there} products of the run that was stopped are read from {folder}"
            if there
            else f"no products of an unfinished run in {run.out}: starting from the first"
        )
    with open_checkpoints(folder, identity, names=NAMES, what="run", resume=resume):
        kinship = KeptProducts(inputs.kinship, folder)
        yield replace(inputs, kinship=kinship)
        _ = kinship.details  # for the record, while it is there
        shutil.rmtree(folder)


def _identity(run: Run, inputs: Inputs[Products]) -> Mapping[str, Any]:
    """Return what two runs must share for one to go on with the products of the other."""
    apart = {"out", "overwrite", "resume", *_OF_INFERENCE, *OF_THE_RUN}
    return {name: str(value) for name, value in run.settings.output.options.items() if name not in apart} | {
        "files": {path: mark.sha256 for path, mark in inputs.files.items()},
        "version": version("bayeslmm"),
    }
