"""A Dask cluster: processes of this machine, or the workers of a scheduler elsewhere."""

import json
import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import AnalysisError, InputError, examples
from bayeslmm.base.threads import environment_of

LOCAL = "local"

_LOST_WORKERS = 5  # of a task, one more gives it up; a remote scheduler has its own limit
_PATIENCE = 10.0  # seconds for a scheduler to answer
_PATIENCE_WITH_WORKERS = 60.0  # for the first worker to join, or the next one where all are gone


class ClusterError(AnalysisError):
    """Workers or their scheduler are gone: nothing is wrong with the input, and the same can be done again later."""


def check_cluster(cluster: str, *, what: str) -> None:
    """Refuse what cannot be a cluster, before anything is computed.

    Args:
        cluster: see `open_client`.
        what: needs it, for the message.

    Raises:
        InputError: no address, no Dask or nothing to encrypt with.
    """
    if cluster != LOCAL and not cluster.startswith(("tcp://", "tls://")) and not cluster.endswith(".json"):
        raise InputError(
            f"cluster must be 'local' or the address tcp://HOST:PORT of a scheduler or its file X.json "
            f"(dask scheduler --scheduler-file X.json), but is {cluster!r}"
        )
    try:
        import distributed  # noqa: F401

        if cluster == LOCAL:
            import cryptography  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need Dask and cryptography: pip install 'bayeslmm[studies]'") from None


@contextmanager
def open_client(cluster: str, workers: int) -> Iterator[Any]:
    """Open a client of a cluster whose workers have this version of bayeslmm.

    Args:
        cluster: "local" to start workers on this machine, the address of a scheduler, tcp://HOST:PORT, or the file
            X.json in which it is (``dask scheduler --scheduler-file X.json``).
        workers: how many processes of one thread to start, if local.

    Raises:
        InputError: if no scheduler with workers answers, or a worker has another version.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    with ExitStack() as stack:
        # One task at a time for each worker: none that only waits there shares the blame for its death.
        settings = {"allowed-failures": _LOST_WORKERS, "worker-saturation": 1.0}
        stack.enter_context(dask.config.set({f"distributed.scheduler.{name}": at for name, at in settings.items()}))
        where: Any = cluster if not cluster.endswith(".json") else _address_in(Path(cluster))
        if cluster == LOCAL:
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
                        # What fails on a worker is told here, once.
                        silence_logs=logging.CRITICAL,
                    )
                )
        try:
            client = stack.enter_context(Client(where, timeout=_PATIENCE))
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            at = where if where == cluster else f"{where}, of {cluster}"
            raise InputError(f"no Dask scheduler answers at {at} ({error}): start one (dask scheduler)") from None
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_WITH_WORKERS)
        except TimeoutError:
            raise InputError(f"the Dask scheduler at {cluster} has no worker: start some (dask worker ...)") from None
        _check_versions(client)
        yield client


def send(client: Any, what: Any) -> Any:
    """Send what many tasks share to the workers; return what stands for it.

    It comes as the result of a task, which is run again if the worker dies that has it: scattered data would be lost.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # once for all tasks, as it must be
        return client.submit(_same, what, pure=False)


def check_present(client: Any, since: float | None) -> float | None:
    """Refuse to wait longer for workers that are gone.

    Args:
        client: of the cluster.
        since: what this returned when it was last asked; at first None.

    Returns:
        Since when there is no worker; None if there are some.

    Raises:
        ClusterError: if there has been none for a minute.
    """
    if client.scheduler_info()["workers"]:
        return None
    now = time.monotonic()
    if since is not None and now - since > _PATIENCE_WITH_WORKERS:
        raise ClusterError(
            f"all workers of the cluster are gone, and none came in {_PATIENCE_WITH_WORKERS:.0f} seconds"
        )
    return now if since is None else since


def _address_in(file: Path) -> str:
    """Return the address that a scheduler has written into a file, or is about to.

    Raises:
        InputError: if it does not in some seconds.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return str(json.loads(file.read_text())["address"])
        except FileNotFoundError:
            found = "is not there"
        except OSError as error:
            found = f"cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError):
            found = "holds no address"
        if time.monotonic() > until:
            raise InputError(
                f"{file} {found}: start a scheduler that writes it (dask scheduler --scheduler-file {file})"
            )
        time.sleep(0.1)


def _check_versions(client: Any) -> None:
    """Refuse workers without bayeslmm, or with another version of it.

    Raises:
        InputError: naming them.
    """
    ours = version("bayeslmm")
    found = client.run(version, "bayeslmm", on_error="return")
    if wrong := {worker: there for worker, there in found.items() if there != ours}:
        worker, there = next(iter(wrong.items()))
        has = f"bayeslmm {there}" if isinstance(there, str) else "no bayeslmm"
        raise InputError(
            f"{len(wrong)} of {len(found)} workers cannot take part ({examples(wrong)}): {worker} has {has}, where "
            f"this is bayeslmm {ours}: start workers in an environment with the same version"
        )


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: it ends this process, which ends its workers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _same[S](what: S) -> S:
    return what
