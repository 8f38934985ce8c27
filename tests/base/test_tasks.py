import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, get_worker

import bayeslmm as bl
from bayeslmm.base.files import read_sealed
from bayeslmm.base.tasks import run_tasks

TASKS = [{"number": number} for number in range(6)]
SQUARES = [number**2 for number in range(6)]


def noting(folder: Path):
    """A task that leaves a file whenever it runs; a closure, which workers get by value."""

    def squared(task, power):
        number = task["number"]
        (folder / f"ran-{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return number**power

    return squared


def killing(folder: Path, *, always: bool):
    """The same, but the worker of task 3 is killed: the first time, or each time."""

    def squared(task, power):
        number = task["number"]
        (folder / f"ran-{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if number == 3 and (always or len(list(folder.glob("ran-3-*"))) == 1):
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return number**power

    return squared


def runs(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("ran-*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_changes_no_result_and_costs_no_finished_task(tmp_path, workers):
    function = killing(tmp_path, always=False)
    found = run_tasks(function, TASKS, 2, checkpoints=tmp_path / "work", label="squares", workers=workers)
    assert found == SQUARES
    # Of the others at most those that the worker had finished but not handed over run again.
    again = runs(tmp_path)
    assert again.count(3) == 2
    assert len(again) <= len(TASKS) + 3


@pytest.mark.slow
def test_an_interrupted_study_goes_on_with_the_tasks_that_are_left(tmp_path):
    work = tmp_path / "work"
    first = run_tasks(noting(tmp_path), TASKS[:4], 2, checkpoints=work, label="squares", workers=1)
    assert first == SQUARES[:4]
    assert run_tasks(noting(tmp_path), TASKS, 2, checkpoints=work, label="squares", workers=2) == SQUARES
    assert runs(tmp_path) == list(range(6))
    checkpoints = sorted(work.glob("squares-*.checkpoint"))
    record = json.loads(read_sealed(checkpoints[0]))
    assert record["result"] == record["task"]["number"] ** 2
    checkpoints[0].write_bytes(checkpoints[0].read_bytes().replace(b'"number"', b'"Number"'))
    with pytest.raises(bl.InputError, match="is damaged, it does not match its checksum: delete it"):
        run_tasks(noting(tmp_path), TASKS, 2, checkpoints=work, label="squares", workers=2)
    checkpoints[1].write_bytes(checkpoints[2].read_bytes())
    checkpoints[0].unlink()
    with pytest.raises(bl.InputError, match="is of another task"):
        run_tasks(noting(tmp_path), TASKS, 2, checkpoints=work, label="squares", workers=2)


def test_other_shared_data_are_another_study(tmp_path):
    work = tmp_path / "work"
    assert run_tasks(noting(tmp_path), TASKS[:1], 2, checkpoints=work, label="powers", workers=1) == [0]
    run_tasks(noting(tmp_path), TASKS[:1], 3, checkpoints=work, label="powers", workers=1)
    assert runs(tmp_path) == [0, 0]


def test_changed_code_is_another_study(tmp_path, monkeypatch):
    """Of the function's own file, here: a checkpoint is of the code that made it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # that of a file of the same size and second would serve
    results = []
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        for power in (2, 3):
            (tmp_path / "study_of_powers.py").write_text(f"def power(task, _):\n    return task['number'] ** {power}\n")
            sys.modules.pop("study_of_powers", None)
            importlib.invalidate_caches()
            function = importlib.import_module("study_of_powers").power
            at = {"checkpoints": tmp_path / "work", "label": "powers", "cluster": cluster.scheduler_address}
            results.append(run_tasks(function, TASKS, 2, **at))
    assert results == [SQUARES, [number**3 for number in range(6)]]
    assert len(list((tmp_path / "work").iterdir())) == 2 * len(TASKS)


def test_nobody_else_on_this_machine_can_use_our_workers(tmp_path):
    """A task tells where the scheduler listens: who comes without the certificate of the run is turned away."""

    def telling(task, _):
        address = get_worker().scheduler.address
        try:
            Client(address.replace("tls://", "tcp://"), timeout=1).close()
        except (OSError, TimeoutError):
            return [address, "refused"]
        return [address, "let in"]

    ((address, told),) = run_tasks(telling, TASKS[:1], 2, checkpoints=tmp_path / "work", label="told", workers=1)
    assert address.startswith("tls://")
    assert told == "refused"


@pytest.mark.slow
def test_a_task_that_kills_all_its_workers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("bayeslmm.base.cluster._LOST_WORKERS", 1)
    with pytest.raises(bl.InputError, match="2 workers died of task 4 of 6"):
        run_tasks(killing(tmp_path, always=True), TASKS, 2, checkpoints=tmp_path / "work", label="squares", workers=2)


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(bl.InputError, match=r"pip install 'bayeslmm\[studies\]'"):
        run_tasks(noting(tmp_path), TASKS, 2, checkpoints=tmp_path / "work", label="squares")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"cluster": "elsewhere"}, "'local' or the address tcp://HOST:PORT"),
        ({"cluster": "tcp://127.0.0.1:1"}, "no Dask scheduler answers at tcp://127.0.0.1:1"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr("bayeslmm.base.cluster._PATIENCE", 1.0)
    with pytest.raises(bl.InputError, match=message):
        run_tasks(noting(tmp_path), TASKS, 2, checkpoints=tmp_path / "work", label="squares", **options)
