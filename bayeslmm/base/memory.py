"""How much memory is left, and whether what comes next fits into it: asked before the work, not in the middle."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from bayeslmm.base.checks import InputError

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def check_memory(needed: float, *, what: str, instead: str) -> None:
    """Refuse work whose arrays do not fit into the memory that is left.

    Args:
        needed: bytes.
        what: the work, the subject of a sentence.
        instead: what the user can do.

    Raises:
        InputError: with both sizes.
    """
    if needed > (left := available()):
        raise InputError(
            f"{what} needs {needed / 1e9:.3g} GB of memory, but {left / 1e9:.3g} GB are left on this machine: {instead}"
        )


def available() -> float:
    """Return the bytes that this process may still take: of the machine, of its container, of ``ulimit -v``."""
    return max(0.0, min([_machine(), *_containers(), *_process()]))


def _machine() -> float:
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _containers() -> Iterator[float]:
    """Yield what each control group of this process leaves, versions 2 and 1 of Linux."""
    for line in _lines(_PROC / "self" / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _CGROUPS, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            root, limit, used = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = ("total_inactive_file", "total_active_file")
        else:
            continue
        here = root / group.lstrip("/")
        for folder in (here, *here.parents):
            most, now = _lines(folder / limit), _lines(folder / used)
            if most and now and most[0] != "max":
                # Pages of files that were read count as used, and are given back when they are wanted.
                parts = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
                yield float(most[0]) - float(now[0]) + sum(float(parts.get(name, 0)) for name in cache)
            if folder == root:
                break


def _process() -> Iterator[float]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and (pages := _lines(_PROC / "self" / "statm")):
        yield most - float(pages[0].split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
