"""Passes on the workers of a Dask cluster: one that is lost costs the parts that it had, which others make again."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from bayeslmm.base.checks import InputError
from bayeslmm.base.cluster import LOCAL, ClusterError, check_cluster, check_present, open_client, send
from bayeslmm.base.files import reading, sketch, stamp
from bayeslmm.base.threads import threads_allowed
from bayeslmm.genotypes.streamed import Markers, OpenMarkers
from bayeslmm.kinship.marker_pass import Part, Pass, part, seconds_of

_AT_A_TIME = 2  # parts that are asked for, for each thread: one is made while another waits to be added up
_LOOK = 2.0  # seconds between looks at whether there are workers


class Sent(NamedTuple):
    """Markers on their way to workers, which have a file of the same name.

    Attributes:
        name: of these markers, and no others.
        markers: what they are.
        sketch: of their file.
    """

    name: str
    markers: Markers
    sketch: str


class ClusterPasses:
    """Makes parts of passes on the workers of a cluster; `Makers`, opened by `cluster_passes`.

    The columns go to the workers once a pass, the markers once; their files stay open there. Parts come back in the
    order in which they are added up, so that this process holds one at a time, and workers the few that are ahead.
    """

    def __init__(self, client: Any, *, local: bool) -> None:
        self._client, self._local = client, local
        self._sent: dict[int, tuple[Markers, Any]] = {}

    @property
    def threads(self) -> int:
        """How many parts are made at a time: one at least, for workers may come."""
        with _scheduler_needed(self._client):
            # Not scheduler_info: in some versions it tells of five workers at most.
            return max(1, sum(self._client.nthreads().values()))

    @property
    def on_this_machine(self) -> int:
        """How many processes take memory of this machine."""
        return 1 + (self.threads if self._local else 0)

    def parts(self, markers: Markers, ranges: Sequence[range], of: Pass) -> Iterator[Part]:
        """Yield the parts of a pass.

        Raises:
            InputError: if a worker has not the same file, or as the reader of the genotypes.
            ClusterError: if a part has killed several workers, or workers or the scheduler are gone.
        """
        sent, shared = self._markers_there(markers), self._there(of)
        left, asked, most = deque(ranges), deque[tuple[range, Any]](), _AT_A_TIME * self.threads
        try:
            while left or asked:
                while left and len(asked) < most:
                    among = left.popleft()
                    asked.append((among, self._submitted(_part_there, sent, among, shared)))
                yield self._result(*asked[0])
                asked.popleft()
        finally:
            if self._client.status == "running":
                self._client.cancel([future for _, future in asked])

    def seconds(self, markers: Markers, among: range, of: Pass) -> float:
        """Return how long a part takes a worker, divided by how many are made at a time."""
        sent, shared = self._markers_there(markers), self._there(of)
        return self._result(among, self._submitted(_seconds_there, sent, among, shared)) / self.threads

    def _markers_there(self, markers: Markers) -> Any:
        """Return the markers as workers have them, all of whom are asked for the file when these are sent."""
        if id(markers) not in self._sent:
            there = markers.by_absolute_path()
            mark = sketch(there.path)
            with _scheduler_needed(self._client):
                self._client.run(_file_there, there.path, mark)
            self._sent[id(markers)] = (markers, self._there(Sent(uuid4().hex, there, mark)))
        return self._sent[id(markers)][1]

    def _there(self, what: Sent | Pass) -> Any:
        with _scheduler_needed(self._client):
            return send(self._client, what)

    def _submitted(self, function: Callable[[Sent, range, Pass], Any], sent: Any, among: range, of: Any) -> Any:
        with _scheduler_needed(self._client):
            return self._client.submit(function, sent, among, of, pure=False)

    def _result(self, among: range, future: Any) -> Any:
        """Return what comes back, as long as there is somebody to wait for."""
        from distributed import KilledWorker, wait

        alone = None
        with _scheduler_needed(self._client):
            while True:
                try:
                    wait([future], timeout=_LOOK)
                    return self._client.gather(future, direct=True)
                except TimeoutError:
                    alone = check_present(self._client, alone)
                except KilledWorker as killed:
                    raise ClusterError(
                        f"{killed.allowed_failures + 1} workers died of the markers {among.start + 1} to {among.stop}: "
                        "give each more memory (fewer workers on a machine), then resume"
                    ) from None


@contextmanager
def cluster_passes(cluster: str) -> Iterator[ClusterPasses]:
    """Open a cluster for passes over genotypes: ``genotype_products(X).by(passes)`` is a kinship that uses it.

    Sums do not depend on who makes their parts: with the same number of threads for each, they have the same digits.

    Args:
        cluster: "local" for as many processes of this machine as threads are allowed, each with one thread; the address
            of a Dask scheduler, tcp://HOST:PORT, or the file X.json in which it is. Workers elsewhere have bayeslmm in
            the same version, and find the genotypes under the same path.

    Raises:
        InputError: without Dask, or if no scheduler with such workers answers.
    """
    check_cluster(cluster, what="passes over genotypes on a cluster")
    with open_client(cluster, threads_allowed()) as client:
        yield ClusterPasses(client, local=cluster == LOCAL)


@contextmanager
def _scheduler_needed(client: Any) -> Iterator[None]:
    """Say, if the scheduler is gone, that it is."""
    try:
        yield
    except (TimeoutError, InputError, ClusterError):
        raise
    except Exception as error:
        if client.status == "running" and not isinstance(error, CancelledError | OSError):
            raise
        raise ClusterError("the scheduler of the cluster is gone: start one with workers, and resume") from None


class _Here(threading.local):
    """What a thread of a worker has open: the markers of a name, and the state of their file."""

    of: tuple[str, tuple[int, ...] | None] | None = None
    opened: OpenMarkers | None = None
    stack = ExitStack()


_HERE = _Here()


def _part_there(sent: Sent, among: range, of: Pass) -> Part:
    with _named(), reading(sent.markers.path):
        return part(_opened(sent), among, of)


def _seconds_there(sent: Sent, among: range, of: Pass) -> float:
    with _named(), reading(sent.markers.path):
        return seconds_of(_opened(sent), among, of)


def _opened(sent: Sent) -> OpenMarkers:
    """Return the markers, open since this thread had them first; opened and checked again if the file has changed."""
    of = (sent.name, stamp(sent.markers.path))
    if _HERE.opened is None or _HERE.of != of:
        _HERE.stack.close()
        _HERE.opened = None
        _check_file(sent.markers.path, sent.sketch)
        _HERE.stack = ExitStack()
        _HERE.of, _HERE.opened = of, _HERE.stack.enter_context(sent.markers.open())
    return _HERE.opened


def _file_there(path: Path, mark: str) -> None:
    with _named():
        _check_file(path, mark)


def _check_file(path: Path, mark: str) -> None:
    """Refuse another file than that of the process that sent for it."""
    if sketch(path) != mark:
        raise InputError(f"{path} is another file than that of the same name where the run began: copy it again")


@contextmanager
def _named() -> Iterator[None]:
    """Say of errors on which worker they were."""
    try:
        yield
    except InputError as error:
        from distributed import get_worker

        raise InputError(f"{error} (on the worker {get_worker().address} of {socket.gethostname()})") from None
