"""How many threads libraries may use, which they look up when they are loaded."""

import os


def environment_of(threads: int) -> dict[str, str]:
    """Return the variables by which linear algebra, readers and XLA use so many threads.

    XLA has none for its number of threads; it takes NPROC for the number of processors.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUM_THREADS")
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return dict.fromkeys((*names, "NPROC"), str(threads)) | flags


def limit_threads(threads: int) -> None:
    """Let libraries that are not loaded yet, and processes that are started later, use so many threads."""
    for name, value in environment_of(threads).items():
        # Whoever set other flags of XLA keeps them; where two contradict each other, the last one holds.
        os.environ[name] = f"{os.environ.get(name, '')} {value}".strip() if name == "XLA_FLAGS" else value


def threads_allowed() -> int:
    """Return how many threads may be used: as many as there are processors, or as OMP_NUM_THREADS allows."""
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(allowed) if allowed.isdigit() and int(allowed) else os.cpu_count() or 1
