import numpy as np
import pandas as pd
import pytest

from bayeslmm.base.frames import as_text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pd.Series([811, 12]), ["811", "12"]),
        (pd.Series([811.0, np.nan, 0.5]), ["811", "", "0.5"]),  # whole numbers, but for a missing one
        (pd.Series([7, pd.NA], dtype="Int64"), ["7", ""]),
        (pd.Series(["007", None, " a "]), ["007", "", "a"]),
        (pd.Series([2, None, 1]).astype("category"), ["2", "", "1"]),
        (pd.Series([1, "x", 2.0], dtype=object), ["1", "x", "2"]),
        (pd.Index([3, 4]), ["3", "4"]),
        (pd.Index(["a", "b"]), ["a", "b"]),
    ],
)
def test_text_is_what_a_file_would_hold(values, text):
    assert as_text(values).tolist() == text
