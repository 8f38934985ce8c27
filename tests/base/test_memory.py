import resource

import pytest

from bayeslmm.base import memory
from bayeslmm.base.checks import InputError


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write what Linux says of a machine with 8 GB, in a container; return a function that writes more."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo="MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n", proc__self__cgroup="")
    return write


def test_the_machine_bounds_memory(machine):
    assert memory.available() == 8_192_000_000


def test_a_container_bounds_it_and_gives_back_pages_of_files(machine):
    machine(proc__self__cgroup="0::/a/b\n", cgroup__a__b__memory_dot_max="max\n")
    machine(cgroup__a__memory_dot_max="4000000000\n", cgroup__a__memory_dot_current="3000000000\n")
    machine(cgroup__a__memory_dot_stat="anon 1\ninactive_file 500000000\nactive_file 1\n")
    assert memory.available() == 4e9 - 3e9 + 5e8 + 1


def test_an_old_container_bounds_it(machine):
    machine(proc__self__cgroup="4:memory:/x\n0::/\n", cgroup__memory__x__memory_dot_limit_in_bytes="2000\n")
    machine(cgroup__memory__x__memory_dot_usage_in_bytes="500\n")
    assert memory.available() == 1500


def test_a_limit_of_the_process_bounds_it(machine, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**8, 10**8))
    machine(proc__self__statm="1000 1 1\n")
    assert memory.available() == 10**8 - 1000 * resource.getpagesize()


def test_work_that_does_not_fit_is_refused_with_the_way_out(machine):
    memory.check_memory(8e9, what="this", instead="that")
    with pytest.raises(InputError, match=r"this needs 9 GB of memory, but 8.19 GB are left on this machine: do that"):
        memory.check_memory(9e9, what="this", instead="do that")
