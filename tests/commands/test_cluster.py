"""`--cluster`: the results are those of one process, to the last byte; and what cannot be shared is refused."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster

from bayeslmm.commands.main import main


@pytest.fixture
def files(plink):
    """Options of a command, for traits y and z of 30 people."""
    prefix, G, ids = plink
    Y = np.nan_to_num(G).sum(axis=1)[:, None] + np.random.default_rng(2).standard_normal((30, 2))
    path = prefix.parent / "pheno.tsv"
    pd.DataFrame(Y, index=pd.Index(ids, name="IID"), columns=["y", "z"]).to_csv(path, sep="\t")
    return ["--bfile", str(prefix), "--pheno", str(path), "--no-plots"]


@pytest.fixture
def arguments(files):
    """Options of `h2`."""
    return ["h2", *files, "--trait", "y", "--methods", "exact"]


@pytest.mark.parametrize(
    "command", [["h2", "--trait", "y", "--methods", "exact"], ["rg", "--traits", "y", "z", "--methods", "mom"]]
)
def test_estimates_are_the_same(files, command, tmp_path, capsys, monkeypatch):
    arguments = [*command, *files]
    monkeypatch.setattr("bayeslmm.kinship.marker_pass._MARKERS", 10)
    monkeypatch.setattr("bayeslmm.kinship.genotype_products.block_of", lambda n: 5)
    file = tmp_path / "scheduler.json"
    with LocalCluster(
        n_workers=2, processes=False, protocol="tcp", threads_per_worker=1, dashboard_address=":0"
    ) as one:
        file.write_text(json.dumps({"address": one.scheduler_address}))
        assert main([*arguments, "--cluster", str(file), "--out", str(tmp_path / "there")]) == 0
    assert f"--cluster {file}: 2 parts of a pass over genotypes are made at a time" in capsys.readouterr().out
    assert main([*arguments, "--kinship-as", "products", "--out", str(tmp_path / "here")]) == 0
    there, here = ((tmp_path / name / "estimates.tsv").read_bytes() for name in ("there", "here"))
    assert there == here


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kinship-as", "matrix"], "--cluster shares passes over genotypes, and --kinship-as matrix has none"),
        (["--eigen", "e.npz"], "--cluster: --eigen keeps a decomposition, and there is none"),
        (
            ["--cluster", "elsewhere"],
            "cluster must be 'local' or the address tcp://HOST:PORT of a scheduler",
        ),
        (["--cluster", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (["--cluster", "none.json"], "none.json is not there: start a scheduler that writes it"),
    ],
)
def test_what_cannot_be_is_refused(arguments, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.setattr("bayeslmm.base.cluster._PATIENCE", 0.5)
    assert main([*arguments, "--cluster", "local", *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--grm", "--pedigree"])
def test_other_kinships_have_no_passes_over_genotypes(arguments, tmp_path, capsys, option):
    given = [*arguments[:1], option, "x", *arguments[3:]]  # in place of --bfile
    assert main([*given, "--cluster", "local", "--out", str(tmp_path / "out")]) == 2
    assert f"--cluster shares passes over genotypes, and K is given by {option}: leave" in capsys.readouterr().err


def test_without_dask_it_says_what_to_install(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*arguments, "--cluster", "local", "--out", str(tmp_path / "out")]) == 2
    assert "(--cluster) need Dask and cryptography: pip install 'bayeslmm[studies]'" in capsys.readouterr().err
