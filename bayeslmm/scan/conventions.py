"""Tests of markers with the columns that other programs read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from bayeslmm.base.checks import InputError, examples
from bayeslmm.genotypes.chromosomes import plain_name, special_chromosomes

Columns = Literal["bayeslmm", "gwas-ssf", "ldsc"]
_GWAS_SSF = {
    "pos": "base_pair_location",
    "a1": "effect_allele",
    "a0": "other_allele",
    "beta": "beta",
    "se": "standard_error",
    "af": "effect_allele_frequency",
    "p_wald": "p_value",
}
_CODES = {"X": 23, "Y": 24, "M": 25, "MT": 25}


@dataclass(frozen=True)
class Convention:
    """Columns of a file of tests of one trait.

    Attributes:
        suffix: of the file's name.
        columns: makes them of a table with the columns `table.COLUMNS`.
        missing: what stands for no value.
    """

    suffix: str
    columns: Callable[[pd.DataFrame], pd.DataFrame]
    missing: str = "NA"


def check_convention(columns: Columns, variants: pd.DataFrame, *, where: str | Path) -> None:
    """Refuse markers that a convention cannot name.

    Args:
        columns: the convention.
        variants: all markers.
        where: their file, for messages.

    Raises:
        InputError: GWAS-SSF is about human chromosomes, and about alleles of the letters A, C, G and T.
    """
    if columns != "gwas-ssf":
        return
    codes = _codes(variants["chrom"].unique().tolist())
    if unknown := [name for name, code in codes.items() if code is None]:
        raise InputError(
            f"{where}: GWAS-SSF has the chromosomes 1 to 22, X, Y and MT of humans, but {examples(unknown)} was found: "
            "choose other columns"
        )
    letters = variants[["a1", "a0"]].apply(lambda alleles: alleles.str.fullmatch("[ACGT]+", case=False)).all(axis=1)
    if not letters.all():
        wrong = variants.loc[~letters, "snp"]
        raise InputError(
            f"{where}: GWAS-SSF writes alleles with the letters A, C, G and T, but {len(wrong):,} markers have others "
            f"({examples(wrong)}): leave them out, or choose other columns"
        )


def _codes(names: Sequence[str]) -> Mapping[str, int | None]:
    """Return the number that GWAS-SSF has for each chromosome of a file, None where it has none."""
    special, codes = special_chromosomes(names), dict[str, int | None]()
    for name in names:
        plain = plain_name(name)
        codes[name] = _CODES.get(special[name]) if name in special else int(plain) if plain.isdigit() else None
        if codes[name] is not None and name not in special and not 1 <= int(plain) <= 22:
            codes[name] = None
    return codes


def _gwas_ssf(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mandatory columns in their order, then rsid, n and the name in the file; only of markers tested."""
    table = table.dropna(subset="p_wald")
    chromosome = table["chrom"].map(_codes(table["chrom"].unique().tolist())).astype("int64")
    rsid = table["snp"].where(table["snp"].str.fullmatch(r"rs\d+"))
    renamed = table[[*_GWAS_SSF]].rename(columns=_GWAS_SSF)
    renamed.insert(0, "chromosome", chromosome)
    return renamed.assign(rsid=rsid, n=table["n"], snp=table["snp"])


def _ldsc(table: pd.DataFrame) -> pd.DataFrame:
    """Return a ``.sumstats``: Z is the estimate over its standard error, and its sign that of A1; only of tests."""
    table = table.dropna(subset="p_wald")
    columns = {"SNP": table["snp"], "A1": table["a1"], "A2": table["a0"], "N": table["n"]}
    return pd.DataFrame(columns | {"Z": table["beta"] / table["se"], "P": table["p_wald"]})


CONVENTIONS: Mapping[Columns, Convention] = {
    "bayeslmm": Convention("scan.tsv", lambda table: table),
    "gwas-ssf": Convention("gwas-ssf.tsv.gz", _gwas_ssf, "#NA"),
    "ldsc": Convention("sumstats.gz", _ldsc),
}
"""By name. Source: GWAS-SSF 1.0, doi:10.1016/j.xgen.2022.100242; LDSC, doi:10.1038/ng.3211, its .sumstats."""
