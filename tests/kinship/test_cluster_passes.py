"""Passes over genotypes on the workers of a cluster have the digits of passes in this process, whatever is killed."""

import json
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
from bed_reader import to_bed
from distributed import LocalCluster
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.cluster import ClusterError, _check_versions
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.kinship.cluster_passes import ClusterPasses, cluster_passes
from bayeslmm.kinship.genotype_products import GenotypeProducts
from bayeslmm.kinship.marker_pass import ranges_of
from conftest import ROOT

N, P = 60, 300


def write_bed(folder):
    """Write 60 people and 300 markers, 3% of the genotypes missing, and all of marker 10."""
    rng = np.random.default_rng(3)
    G = rng.binomial(2, rng.uniform(0.1, 0.5, P), (N, P)).astype(float)
    G[rng.uniform(size=(N, P)) < 0.03] = np.nan
    G[:, 9] = np.nan
    to_bed(folder / "x.bed", G, properties={"iid": [f"p{i}" for i in range(N)], "chromosome": ["1"] * P})
    return folder / "x"


@pytest.fixture(scope="module")
def few_markers():
    """Parts of 32 markers: a pass has ten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayeslmm.kinship.marker_pass._MARKERS", 32)
        yield


@pytest.fixture(scope="module")
def passes(few_markers):
    """Two processes of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayeslmm.kinship.cluster_passes.threads_allowed", lambda: 2)
        with cluster_passes("local") as opened:
            opened._client.wait_for_workers(2)
            yield opened


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return write_bed(tmp_path_factory.mktemp("genotypes"))


def products(path, **options):
    return GenotypeProducts(MarkerBlocks(open_genotypes(path), block=16, **options))


@dataclass
class Killing:
    """Passes of which a worker is killed after the third part, and all of them after the sixth."""

    passes: ClusterPasses
    killed: int = 0
    on_this_machine = 1

    def parts(self, markers, ranges, of):
        for number, part in enumerate(self.passes.parts(markers, ranges, of)):
            yield part
            there = [*self.passes._client.run(os.getpid).values()] if number in (2, 5) else []
            for pid in there[: 1 if number == 2 else 2]:
                os.kill(pid, signal.SIGKILL)
                self.killed += 1

    def seconds(self, markers, among, of):
        raise NotImplementedError


def test_parts_are_whole_blocks_and_all_of_the_markers():
    for markers, block in ((range(10_000), 64), (range(5, 9_000), 3_355), (range(3), 4_096)):
        parts = ranges_of(markers, block)
        assert [line for part in parts for line in part] == [*markers]
        assert all(len(part) % block == 0 and len(part) < 2 * 4_096 for part in parts[:-1])


def test_digits_are_those_of_this_process(prefix, passes, rng, monkeypatch, tmp_path):
    monkeypatch.chdir(prefix.parent)  # where the workers are not
    here, there = products("x"), products("x").by(passes)
    V = rng.standard_normal((N, 3))
    for _ in range(2):
        assert_array_equal(there @ V, here @ V)
    assert_array_equal(there.diagonal(), here.diagonal())
    assert there.details == here.details
    rows = rng.permutation(N)
    for m in (20, 50):  # picked out, and with zeros for the others
        assert_array_equal(there.take(rows[:m]) @ V[:m], here.take(rows[:m]) @ V[:m])
    some = here.take(rows[:20])
    assert some.by(passes).ids == some.ids
    assert_array_equal(some.by(passes) @ V[:20], some @ V[:20])
    assert 0 < there.seconds(3) < 60
    assert there.working_bytes(3) == 3 * here.working_bytes(3)


@pytest.mark.filterwarnings("ignore:.* half calls")
@pytest.mark.parametrize("format", ["pfile", "vcf", "vcz"])
def test_other_formats(passes, format, rng):
    path = ROOT / "tests" / "data" / ("calls.vcz.zip" if format == "vcz" else "calls")
    dosage = None if format == "pfile" else "GT"
    here = bl.genotype_products(open_genotypes(path, format=format, dosage=dosage), geno=0.9)
    V = rng.standard_normal((len(here.ids), 2))
    assert_array_equal(here.by(passes) @ V, here @ V)


def test_killed_workers_change_no_digit(prefix, passes, rng):
    V = rng.standard_normal((N, 3))
    killing = Killing(passes)
    assert_array_equal(products(prefix).by(killing) @ V, products(prefix) @ V)
    assert killing.killed >= 2


def test_a_file_that_changes_is_told_with_its_worker(passes, tmp_path):
    there, V = products(write_bed(tmp_path)).by(passes), np.ones((N, 1))
    _ = there @ V
    bed = tmp_path / "x.bed"
    whole = bed.read_bytes()
    bed.write_bytes(whole[:3] + whole[:2:-1])
    with pytest.raises(
        InputError, match=r"x\.bed is another file than that of the same name .*[(]on the worker tls://"
    ):
        _ = there @ V
    bed.unlink()
    with pytest.raises(InputError, match=r"x\.bed does not exist: .*[(]on the worker tls://"):
        _ = there @ V
    bed.write_bytes(whole)
    assert_array_equal(there @ V, products(tmp_path / "x") @ V)


def test_what_is_wrong_with_a_marker_is_told(prefix, passes):
    with pytest.raises(InputError, match=r"marker 10: no genotype was called.*[(]on the worker tls://"):
        _ = products(prefix, geno=1.0).by(passes) @ np.ones((N, 1))


def refused(cluster, message):
    """A cluster cannot be opened."""
    with pytest.raises(InputError, match=message), cluster_passes(str(cluster)):
        pass


def test_workers_and_schedulers_that_go_are_told(prefix, few_markers, tmp_path, monkeypatch):
    """Of a scheduler that has written its address into a file."""
    file = tmp_path / "scheduler.json"
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        file.write_text(json.dumps({"address": cluster.scheduler_address}))
        with cluster_passes(str(file)) as passes:
            there, V = products(prefix).by(passes), np.ones((N, 1))
            assert_array_equal(there @ V, products(prefix) @ V)
            monkeypatch.setattr("bayeslmm.base.cluster._PATIENCE_WITH_WORKERS", 0.5)
            monkeypatch.setattr("bayeslmm.kinship.cluster_passes._LOOK", 0.1)
            cluster.scale(0)
            cluster.sync(cluster._correct_state)
            with pytest.raises(ClusterError, match="are gone, and none came in 0 seconds"):
                _ = there @ V
            refused(file, "has no worker: start some")
            monkeypatch.setattr("bayeslmm.base.cluster._PATIENCE", 1.0)
            cluster.close()
            with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
                _ = there @ V
    refused(file, r"no Dask scheduler answers at tcp://.*, of .*scheduler\.json")
    for content in ("{}", "{"):
        file.write_text(content)
        refused(file, r"scheduler\.json holds no address: start a scheduler that writes it")
    file.unlink()
    refused(file, r"scheduler\.json is not there: start a scheduler that writes it")


def test_workers_with_another_version_are_refused():
    class Client:
        @staticmethod
        def run(function, *arguments, on_error):
            return {"tcp://a": "0.0.1", "tcp://b": ModuleNotFoundError("bayeslmm"), "tcp://c": function(*arguments)}

    with pytest.raises(InputError, match=r"2 of 3 workers cannot take part .*: tcp://a has bayeslmm 0\.0\.1"):
        _check_versions(Client())
