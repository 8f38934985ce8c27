"""Many independent tasks in parallel on Dask: checkpoints, progress, and lost workers survived.

A task is a small dictionary that holds all that its result depends on, its seeds included, so that neither the number
of workers nor the order in which they finish can change a result. Each result is written when it arrives: a study that
was interrupted goes on where it stopped.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError
from bayeslmm.base.cluster import check_cluster, open_client, send
from bayeslmm.base.files import output_folder, read_sealed, remove_stale, write_sealed
from bayeslmm.base.progress import progress_bar

Task = dict[str, Any]

_COMPUTING = ("jax", "numpyro", "numpy", "scipy")


def run_tasks[S](
    function: Callable[[Task, S], Any],
    tasks: Sequence[Task],
    shared: S,
    *,
    checkpoints: str | Path,
    label: str,
    cluster: str = "local",
    workers: int = 2,
) -> list[Any]:
    """Run a function on each task and return the results in the order of the tasks.

    A task whose result is among the checkpoints is not run again: those of the same function, task, shared data, code
    of bayeslmm and of the function's file, and versions of what it computes with. A task whose worker dies is run again
    by another, up to five times (a remote scheduler has its own limit).

    Args:
        function: called as ``function(task, shared)``; what it returns must be writable as JSON.
        tasks: plain dictionaries, writable as JSON.
        shared: what all tasks need, such as rotated data: arrays, sent to each worker once.
        checkpoints: the folder of the results; it is made.
        label: names the checkpoints and the progress bar.
        cluster: "local" to start workers on this machine, else a Dask scheduler, as for `open_client`.
        workers: how many to start, if local.

    Raises:
        InputError: without Dask, for an address at which no scheduler with workers answers, or if a task kills its
            workers again and again.
    """
    check_engine(cluster, workers)
    from dask.tokenize import tokenize
    from distributed import KilledWorker, as_completed

    name, folder = f"{function.__module__}.{function.__qualname__}", output_folder(checkpoints)
    study = tokenize(name, shared, _code_of(function), ensure_deterministic=True)
    names = [f"{label}-{tokenize(study, task, ensure_deterministic=True)}.checkpoint" for task in tasks]
    paths = [folder / name for name in names]
    remove_stale(folder)
    left = [number for number, path in enumerate(paths) if not path.exists()]
    for number in sorted({*range(len(tasks))} - {*left}):
        _result(paths[number], tasks[number])  # hours of work may come before it is used
    with ExitStack() as stack, _kept_when_stopped():
        bar = stack.enter_context(progress_bar(label, total=len(tasks), unit="task"))
        bar.update(len(tasks) - len(left))
        if left:
            client = stack.enter_context(open_client(cluster, min(workers, len(left))))
            sent = send(client, shared)
            futures = {client.submit(function, tasks[number], sent, pure=False): number for number in left}
            for future in as_completed(futures):
                number = futures[future]
                try:
                    record = {"task": tasks[number], "result": future.result()}
                except KilledWorker as killed:
                    raise InputError(
                        f"{label}: {killed.allowed_failures + 1} workers died of task {number + 1} of {len(tasks)}: "
                        "give each more memory (fewer workers), then start again: finished tasks are kept"
                    ) from None
                write_sealed(paths[number], json.dumps(record).encode())
                future.release()
                bar.update()
    # Read back, so that a result is the same whether it is new or from a checkpoint.
    return [_result(path, task) for path, task in zip(paths, tasks, strict=True)]


def _result(path: Path, task: Task) -> Any:
    """Return the result that a checkpoint holds.

    Raises:
        InputError: if it is damaged, or of another task.
    """
    record = json.loads(read_sealed(path))
    if record["task"] != json.loads(json.dumps(task)):
        raise InputError(f"{path} is of another task: delete it, and start again")
    return record["result"]


def check_engine(cluster: str, workers: int) -> None:
    """Refuse what `run_tasks` could not run on, before anything is computed.

    Raises:
        InputError: no worker, or as `check_cluster`.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, but {workers} was given")
    check_cluster(cluster, what="parallel studies")


@contextmanager
def _kept_when_stopped() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note("finished tasks are kept: start again to continue")
        raise


def _code_of(function: Callable[..., Any]) -> list[str]:
    """Return versions, and a checksum of the code that a result depends on."""
    package, own = Path(__file__).parents[1], Path(function.__code__.co_filename)
    # In a clone models/ is a symbolic link, which rglob does not follow.
    files = {*package.rglob("*.py"), *package.glob("models/*.py"), *([own] if own.is_file() else [])}
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()
    return [code, *(version(name) for name in _COMPUTING)]
