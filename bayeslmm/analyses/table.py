"""The table of estimates: one row for each trait, method and parameter."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm

from bayeslmm.base.files import replacing

COLUMNS = "trait method parameter estimate se se_kind lower upper interval ess_bulk r_hat note".split()
WALD = float(norm.ppf(0.975))
Row = dict[str, Any]


def to_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table with all the columns; NA where a column has no meaning."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"note": str, "trait": str})


def with_rows(tables: Sequence[pd.DataFrame], rows: Sequence[Row]) -> pd.DataFrame:
    """Return tables of the same columns as one, with further rows that have some of them."""
    columns = tables[0].columns if tables else pd.Index(COLUMNS)
    return pd.DataFrame([row for table in tables for row in table.to_dict("records")] + [*rows], columns=columns)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as tab-separated text with 10 digits, NA for what is missing."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="NA", float_format="%.10g")


def draws_row(array: Float[ndarray, "chain draw"]) -> Row:
    """Return what a row says about draws of one number."""
    lower, upper = np.quantile(array, [0.025, 0.975])
    return {
        "estimate": array.mean(),
        "se": array.std(ddof=1),
        "se_kind": "sd",
        "lower": lower,
        "upper": upper,
        "interval": "eti95",
        "ess_bulk": float(arviz_stats.ess(array, method="bulk")),
        "r_hat": float(arviz_stats.rhat(array)) if len(array) > 1 else np.nan,
    }


def wald(estimate: float, se: float) -> Row:
    """Return what a row says about an estimate that is about normal."""
    return {"se": se, "lower": estimate - WALD * se, "upper": estimate + WALD * se, "interval": "wald95"}


def joined(*notes: str) -> str:
    """Return several notes as one."""
    return "; ".join(filter(None, notes))
