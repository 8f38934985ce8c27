"""Claim: with several components of variance, NUTS and importance sampling draw from the same posterior.

All models of two or more components that the references of the tests have: birth weight of the gryphons (854 records),
their laying dates (1,607 records of 469 females), and two traits of the mice. Both ways use the same prior, and nothing
else in common: random effects sampled in an eigenbasis, or integrated out of the restricted likelihood.

    python validation/components_agreement.py
"""

import sys
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import study

import bayeslmm as bl
from bayeslmm.base.files import output_folder
from bayeslmm.cohort.design import treatment_coding
from bayeslmm.cohort.records import Component
from bayeslmm.commands.random_kinship import further_kinship, random_kinship
from bayeslmm.likelihood.components import Components
from bayeslmm.models import components as program

ROUNDS, DRAWS = 4096, 1000  # of importance sampling; of each of four chains
GENES = {"add": "", "odd": "@chr1,3,5,7,9,11,13,15,17,19", "even": "@chr2,4,6,8,10,12,14,16,18", "dom": "@dominance"}
MODELS = {
    "BWT": ("animal+byear", "animal+mother", "byear+mother", "animal+byear+mother", "animal+byear+mgen",
            "animal+byear+mother+mgen"),
    "lay_date": ("animal+pe", "animal+year", "pe+year", "animal+pe+year", "animal+pe+byear", "pe+year+byear",
                 "animal+year+byear", "animal+pe+year+byear"),
    "CD8": ("odd+even", "add+dom", "add+fam"),
    "MCH": ("odd+even", "add+dom", "add+fam"),
}  # fmt: skip


def records(trait: str) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """Return the records of a trait, their fixed effects, and the names of these."""
    read: Any = {"sep": "\t", "dtype": {name: str for name in ("IID", "ID", "sex", "cohort", "mother", "age", "year")}}
    if trait == "lay_date":
        table, factor = pd.read_csv(study.GRYPHONS / "laydate.tsv", **read), "age"
    elif trait == "BWT":
        table, factor = pd.read_csv(study.GRYPHONS / "pheno.tsv", **read), "sex"
        table = table.merge(pd.read_csv(study.GRYPHONS / "covar.tsv", **read), on="IID")
    else:
        table, factor = pd.read_csv(study.MICE / "pheno.tsv", **read), None
        table = table.merge(pd.read_csv(study.MICE / "litter.tsv", **read), on="IID")
    table = table[table[trait].notna()]
    if factor is None:
        return table, np.ones((len(table), 1)), ("intercept",)
    names, columns = treatment_coding(factor, table[factor].tolist())
    return table, np.column_stack([np.ones(len(table)), columns]), ("intercept", *names)


def component(name: str, table: pd.DataFrame) -> Component:
    """Return a component of the records by its name."""
    ids = "ID" if "ID" in table else "IID"
    pedigree = study.GRYPHONS / "pedigree.csv"
    if name == "animal":
        return bl.related(name, bl.pedigree_kinship(pedigree), table[ids].tolist())
    if name == "mgen":
        maternal = further_kinship(random_kinship(f"mgen={pedigree}@mother"))
        mothers = dict(maternal.level_of or ())
        return bl.related(name, maternal.kinship, table[ids].map(mothers).tolist())
    if name in GENES:
        given = random_kinship(f"{name}={study.MICE / 'mouse_hs1940'}{GENES[name]}")
        kinship = further_kinship(given, scale="sample", maf=0.01, geno=0.05).kinship
        return bl.related(name, kinship, table[ids].tolist())
    column = {"byear": "cohort", "pe": "ID", "fam": "litter"}.get(name, name)
    return bl.grouped(name, table[column].tolist())


def compared(data: Components) -> dict[str, Any]:
    """Return what both ways say of the shares."""
    ours = bl.importance(data, seed=1, draws=ROUNDS, workers=2)
    tree = bl.sample(program, data, seed=1, draws=DRAWS)
    rows: list[dict[str, Any]] = []
    for name in data.names:
        draws, share = tree["posterior"]["share"].sel(component=name).to_numpy(), ours.share(name)
        error = float(np.hypot(arviz_stats.mcse(draws), ours.error(share)))
        square, expected = (draws - draws.mean()) ** 2, (share - ours.mean(share)) ** 2
        error_of_square = float(np.hypot(arviz_stats.mcse(square), ours.error(expected)))
        rows.append(
            {
                "component": name,
                "importance": [ours.mean(share), ours.sd(share)],
                "nuts": [float(draws.mean()), float(draws.std())],
                "z_mean": (float(draws.mean()) - ours.mean(share)) / error,
                "z_square": (float(square.mean()) - ours.mean(expected)) / error_of_square,
                "r_hat": float(arviz_stats.rhat(draws)),
                "ess": float(arviz_stats.ess(draws)),
            }
        )
    return {
        "rows": rows,
        "pareto_k": ours.pareto_k,
        "ess": ours.ess,
        "divergences": int(tree["sample_stats"].dataset["diverging"].sum()),
    }


def main() -> None:
    """Compare all models, and write the results."""
    wanted, found = sys.argv[1:] or list(MODELS), {}
    for trait in wanted:
        table, X, names = records(trait)
        y = table[trait].to_numpy(dtype=float)
        for model in MODELS[trait]:
            parts = tuple(component(name, table) for name in model.split("+"))
            data = bl.components(bl.Records(trait, y, X, names, parts))
            found[f"{trait}: {model}"] = compared(data)
            print(f"  {trait}: {model}", file=sys.stderr, flush=True)
    out = output_folder(Path(study.VALIDATION) / ("results" if wanted == list(MODELS) else "work"))
    study.write(out, "components_agreement", {"models": found}, _lines(found))


def _lines(found: dict[str, Any]) -> list[str]:
    every = [row for one in found.values() for row in one["rows"]]
    z = np.abs([row[key] for row in every for key in ("z_mean", "z_square")])
    lines = [
        "# NUTS beside importance sampling, several components of variance",
        "",
        f"Made by `validation/components_agreement.py`. Mean ± standard deviation of each share by {ROUNDS:,} points",
        f"of importance sampling and by 4 x {DRAWS:,} draws of NUTS after as many of warm-up; their difference in",
        "Monte Carlo errors of both together, of the mean and of the mean square about it.",
        "",
        f"{len(found)} models, {len(every)} shares: the largest difference is {z.max():.1f} errors, and "
        f"{(z > 2).mean():.1%} are above 2.",
        f"R-hat is at most {max(row['r_hat'] for row in every):.4f}, the bulk ESS at least "
        f"{min(row['ess'] for row in every):,.0f}, Pareto k at most "
        f"{max(one['pareto_k'] for one in found.values()):.2f};",
        f"{sum(one['divergences'] for one in found.values())} transitions diverged.",
        "",
        "| model | component | importance | NUTS | mean, square: errors apart | R-hat | ESS | divergences | Pareto k |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, one in found.items():
        for j, row in enumerate(one["rows"]):
            of_model = [str(one["divergences"]), f"{one['pareto_k']:.2f}"]
            cells = [
                "" if j else model,
                row["component"],
                *(f"{mean:.4f} ± {sd:.4f}" for mean, sd in (row["importance"], row["nuts"])),
                f"{row['z_mean']:+.1f}, {row['z_square']:+.1f}",
                f"{row['r_hat']:.4f}",
                f"{row['ess']:,.0f}",
                *([""] * 2 if j else of_model),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
