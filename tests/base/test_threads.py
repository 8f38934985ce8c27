"""In processes of their own: libraries look up their threads when they are loaded."""

import json
import os
import subprocess
import sys

import pytest

from bayeslmm.base.threads import environment_of, limit_threads
from conftest import ROOT

COUNT = """
import json, os, sys
from pathlib import Path
from bayeslmm.commands.main import main
assert not {"jax", "numpy"} & set(sys.modules)
code = main(sys.argv[1:])
import threadpoolctl
import jax.numpy as jnp
from bayeslmm.base.threads import threads_allowed
(jnp.ones((50, 50)) @ jnp.ones((50, 50))).block_until_ready()
names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
blas = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
print(json.dumps({"code": code, "xla": names.count("tf_XLAEigen"), "blas": sorted(blas), "chains": threads_allowed()}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_take_effect_before_blas_and_xla_start(plink, tmp_path, threads):
    free = {name: value for name, value in os.environ.items() if name not in environment_of(1)}
    command = ["grm", "--bfile", str(plink[0]), "--out", str(tmp_path / "k"), "--threads", str(threads)]
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *command], capture_output=True, text=True, check=True, cwd=ROOT,
        env=free | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"code": 0, "xla": threads, "blas": [min(threads, os.cpu_count() or 1)], "chains": threads}


def test_flags_of_others_are_kept(monkeypatch):
    for name in environment_of(1):
        monkeypatch.setenv(name, "--xla_dump_to=x" if name == "XLA_FLAGS" else "7")
    limit_threads(1)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_cpu_multi_thread_eigen=false"
    assert os.environ["OMP_NUM_THREADS"] == os.environ["NPROC"] == "1"
