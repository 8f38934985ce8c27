"""Many independent tasks in parallel on Dask: checkpoints, progress, and lost workers survived.

A task is a small dictionary that holds all that its result depends on, its seeds included, so that neither the number
of workers nor the order in which they finish can change a result. Each result is written when it arrives: a study that
was interrupted goes on where it stopped.
"""

import hashlib
import json
import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import output_folder, read_sealed, remove_stale, write_sealed
from bayeslmm.base.progress import progress_bar
from bayeslmm.base.threads import environment_of

Task = dict[str, Any]

_COMPUTING = ("jax", "numpyro", "numpy", "scipy")
_LOST_WORKERS = 5
_PATIENCE = 30.0  # seconds


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
        cluster: "local" to start workers on this machine, else the address of a Dask scheduler, tcp://HOST:PORT.
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
            client = stack.enter_context(_client(cluster, min(workers, len(left))))
            # A separate task, which can be rerun: scattered data die with their worker.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sending large graph")  # once for all tasks, as it must be
                sent = client.submit(_same, shared, pure=False)
            futures = {client.submit(function, tasks[number], sent, pure=False): number for number in left}
            for future in as_completed(futures):
                number = futures[future]
                try:
                    record = {"task": tasks[number], "result": future.result()}
                except KilledWorker:
                    raise InputError(
                        f"{label}: {_LOST_WORKERS + 1} workers died of task {number + 1} of {len(tasks)}: give each "
                        "more memory (fewer workers), then start again: finished tasks are kept"
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
        InputError: no worker, no address, no Dask or nothing to encrypt with.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, but {workers} was given")
    if cluster != "local" and not cluster.startswith(("tcp://", "tls://")):
        raise InputError(f"cluster must be 'local' or the address tcp://HOST:PORT of a scheduler, but is {cluster!r}")
    try:
        import distributed  # noqa: F401

        if cluster == "local":
            import cryptography  # noqa: F401
    except ImportError:
        raise InputError("parallel studies need Dask and cryptography: pip install 'bayeslmm[studies]'") from None


@contextmanager
def _kept_when_stopped() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note("finished tasks are kept: start again to continue")
        raise


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: it ends this process, which ends its workers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _client(cluster: str, workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster, Security

    with ExitStack() as stack:
        # One task at a time for each worker: none that only waits there shares the blame for its death.
        settings = {"allowed-failures": _LOST_WORKERS, "worker-saturation": 1.0}
        stack.enter_context(dask.config.set({f"distributed.scheduler.{name}": at for name, at in settings.items()}))
        where: Any = cluster
        if cluster == "local":
            with _interrupts_blocked():
                where = stack.enter_context(
                    LocalCluster(
                        # Else whoever has an account on this machine could run code as its user.
                        security=Security.temporary(),
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        memory_limit=0,
                        dashboard_address="127.0.0.1:0",
                        # The threads of two workers would compete.
                        env=environment_of(1),
                        silence_logs=logging.ERROR,
                    )
                )
        try:
            client = stack.enter_context(Client(where, timeout=_PATIENCE))
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise InputError(f"no Dask scheduler answers at {cluster} ({error}): start one (dask scheduler)") from None
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise InputError(f"the Dask scheduler at {cluster} has no worker: start some (dask worker ...)") from None
        yield client


def _code_of(function: Callable[..., Any]) -> list[str]:
    """Return versions, and a checksum of the code that a result depends on."""
    package, own = Path(__file__).parents[1], Path(function.__code__.co_filename)
    # In a clone models/ is a symbolic link, which rglob does not follow.
    files = {*package.rglob("*.py"), *package.glob("models/*.py"), *([own] if own.is_file() else [])}
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()
    return [code, *(version(name) for name in _COMPUTING)]


def _same[S](shared: S) -> S:
    return shared
