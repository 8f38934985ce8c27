"""Columns of a DataFrame as text, as a file would hold them."""

import numpy as np
import pandas as pd
from numpy import ndarray


def as_text(values: pd.Series | pd.Index) -> ndarray:
    """Return values as text, "" where they are missing; whole numbers without a point, as ids are written.

    Pandas keeps whole numbers as floats where one is missing.
    """
    series = pd.Series(np.asarray(values) if isinstance(values, pd.Index) else values.to_numpy(), dtype=object)
    missing = series.isna()
    text = [
        "" if gap else str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        for value, gap in zip(series, missing, strict=True)
    ]
    return np.array(text, dtype=object)
