import json

import pytest

import bayeslmm as bl
from bayeslmm.base.files import sha256
from bayeslmm.commands.main import main
from bayeslmm.commands.parser import parse
from conftest import MOUSE

SHARED = """
bfile = "mice"
pheno = "pheno.tsv"
traits = ["CD8", "MCH"]
maf = 0.02
seed = 7
missing = [-9, "x"]

[h2]
methods = ["REML", "exact"]
prior-h2 = [2, 3]
bend = true
centre = false
out = "h2"

[rg]
out = "rg"
covariates-of = [["CD8", "sex"], ["MCH", "age"]]

[scan]
posterior-top = 3
maf = 0.1
"""


def test_keys_are_options_and_tables_those_of_a_command(write):
    config = str(write("all.toml", SHARED))
    h2 = parse(["h2", "--config", config])
    assert (h2.bfile, h2.trait, h2.maf, h2.seed, h2.missing) == ("mice", ["CD8", "MCH"], 0.02, 7, ["-9", "x"])
    assert (h2.methods, h2.prior_h2, h2.bend, h2.centre, str(h2.out)) == (["reml", "exact"], [2, 3], True, False, "h2")
    assert parse(["rg", "--config", config]).covariates_of == [["CD8", "sex"], ["MCH", "age"]]
    scan = parse(["scan", "--config", config, "--out", "s"])
    assert (scan.posterior_top, scan.maf, scan.seed) == (3, 0.1, 7)
    grm = parse(["grm", "--config", config, "--out", "g"])
    assert (grm.maf, "seed" in grm) == (0.02, False)


def test_the_command_line_wins(write):
    config = str(write("all.toml", SHARED))
    typed = ["--config", config, "--trait", "MCV", "--maf=0.05", "--methods", "nuts"]
    h2 = parse(["h2", *typed])
    assert (h2.trait, h2.maf, h2.methods, h2.seed) == (["MCV"], 0.05, ["nuts"], 7)
    assert "--traits" not in h2.config["options"]
    assert parse(["rg", "--config", config, "--covariates-of", "CD8", "age"]).covariates_of == [["CD8", "age"]]


def test_an_option_takes_the_place_of_one_that_it_excludes(write):
    h2 = parse(["h2", "--config", str(write("all.toml", SHARED)), "--pedigree", "ped.csv"])
    assert (h2.bfile, h2.pedigree) == (None, "ped.csv")


def test_what_a_file_gave_is_told_and_recorded(write, tmp_path, capsys):
    config = write("h2.toml", f'pheno = "p.tsv"\n[simulate]\nh2 = 0.5\nbfile = "{MOUSE / "mouse_hs1940"}"\n')
    assert main(["simulate", "--config", str(config), "--causal", "5", "--out", str(tmp_path / "out")]) == 0
    given = f"--h2 0.5 --bfile={MOUSE / 'mouse_hs1940'}"
    assert f"options of {config}: {given}" in capsys.readouterr().out
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert recorded["h2"] == [0.5]
    assert recorded["config"] == {"file": str(config), "sha256": sha256(config), "options": given.split()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeed = 1", ", above all tables: there is no option 'seeed': did you mean seed?"),
        ("[h2]\nloco = true", ", [h2]: there is no option 'loco'"),
        ("[scann]\nloco = true", ": [scann] must be a command: did you mean scan?"),
        ("prior_h2 = [1, 1]", "there is no option 'prior_h2': did you mean prior-h2?"),
        ("config = 'x'", "there is no option 'config'"),
        ("[scan]\nloco = 'yes'\n[h2]\nbend = 'yes'", ": bend must be true or false"),
        ("maf = true", ": maf must have a value"),
        ("maf = [0.1, 0.2]", ": maf must be one value, but [0.1, 0.2] was given"),
        ("model = 2026-01-01", ": model must be text or numbers, or a list of these, but datetime.date(2026, 1, 1)"),
        ("trait = [['a'], ['b']]", ": trait must be one list, not several"),
        ("chains = 'four'", "argument --chains: invalid int value: 'four'"),
        ("maf = 0.1\nmaf = 0.2", "is no TOML (Cannot overwrite a value "),
    ],
)
def test_what_no_option_has_is_refused(write, text, message):
    required = "--grm K --pheno P --out O --trait T".split() if "trait" not in text else []
    with pytest.raises(bl.InputError) as refused:
        parse(["h2", "--config", str(write("wrong.toml", text)), *required])
    assert message in str(refused.value)


def test_a_file_that_is_not_there_is_one_line(capsys):
    assert main(["h2", "--config", "nowhere.toml"]) == 2
    assert capsys.readouterr().err == "bayeslmm: error: nowhere.toml does not exist: check the name and the folder\n"
