import re

import pytest

import bayeslmm as bl
from bayeslmm.commands.other_programs import OTHER_PROGRAMS
from bayeslmm.commands.parser import commands_of, parse, parser
from bayeslmm.commands.suggestions import options_in
from conftest import ROOT

TERMS = (ROOT / "docs" / "terms.md").read_text()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("h2 --covarr c.tsv", "bayeslmm h2 has no option '--covarr': did you mean --covar?"),
        ("scan --cov c.tsv", "bayeslmm scan has no option '--cov': did you mean --covar or --covariates?"),
        ("h2 --qqq", "bayeslmm h2 has no option '--qqq'; bayeslmm h2 --help lists all"),
        ("h2 --loco", "--loco belongs to bayeslmm scan, not to h2"),
        ("grm --methods reml", "--methods belongs to bayeslmm h2 and rg, not to grm"),
        ("--loco", "--loco comes after the command: bayeslmm scan --loco"),
        ("--quiet h2", "--quiet comes after the command: bayeslmm COMMAND --quiet"),
        ("h2 --version", "--version belongs to bayeslmm itself: bayeslmm --version"),
        ("--grm X --reml", "--grm comes after the command"),
        ("--reml --grm X", "--reml is an option of GCTA; here: bayeslmm h2 --methods reml"),
        ("-lmm 4", "-lmm is an option of GEMMA; here: bayeslmm scan: Wald, likelihood ratio"),
        ("h2 --phenoCol A", "--phenoCol is an option of BOLT-REML; here: bayeslmm h2 --bfile X --pheno F"),
        ("scna", "there is no command 'scna': did you mean scan?"),
        ("gwas", "there is no command 'gwas'; bayeslmm --help lists all"),
        ("h2 --chains four", "argument --chains: invalid int value: 'four' (bayeslmm h2 --help)"),
        ("h2 --maf=0.1 --bfile X", "the following arguments are required: --pheno, --out"),
        ("", "the following arguments are required: COMMAND (bayeslmm --help)"),
    ],
)
def test_what_cannot_be_typed_is_refused_with_what_can(typed, message):
    with pytest.raises(bl.InputError) as refused:
        parse(typed.split())
    assert message in str(refused.value)


def test_no_option_is_abbreviated():
    for command in commands_of(parser()).values():
        assert not command.allow_abbrev


def test_numbers_and_codes_of_missing_values_are_no_options():
    assert [*options_in(["--missing", "-9", "-", "-1.5", "--eigen=-F", "--", "--loco"])] == ["--missing", "--eigen"]


def test_trait_and_traits_are_one_option_of_every_command():
    for name, command in commands_of(parser()).items():
        options = command._option_string_actions
        assert options.get("--trait") is options.get("--traits"), name


def test_methods_in_any_case():
    typed = "h2 --grm K --pheno P --trait T --out O --methods REML Exact nuts".split()
    assert parse(typed).methods == ["reml", "exact", "nuts"]


@pytest.mark.parametrize("program", OTHER_PROGRAMS)
def test_what_is_said_of_other_programs_is_in_the_map_of_terms(program):
    """Where this fails, bayeslmm/commands/other_programs.py must say what docs/terms.md says, and nothing else."""
    (section,) = re.findall(rf"^## {program}\n(.*?)^## ", TERMS, flags=re.MULTILINE | re.DOTALL)
    (table,) = re.findall(rf"^\| {program} \| bayeslmm \|\n\|[-|]+\n((?:\|.*\n)+)", section, flags=re.MULTILINE)
    told = {}
    for line in table.splitlines():
        theirs, ours = re.split(r"(?<!\\)\|", line)[1:3]
        codes = [code for quoted in re.findall(r"`([^`]+)`", theirs) for code in quoted.split()]
        for code in codes:
            if re.match(r"--?[A-Za-z]", code):
                told.setdefault(code, ours.replace("`", "").strip())
    here = {option for command in commands_of(parser()).values() for option in command._option_string_actions}
    assert OTHER_PROGRAMS[program].items() <= told.items()
    assert here.isdisjoint(OTHER_PROGRAMS[program])
