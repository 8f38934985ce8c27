"""Files that were damaged at random are read or refused in one line; `validation/fuzz_readers.py` runs many more."""

import runpy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT

FUZZ = runpy.run_path(str(ROOT / "validation" / "fuzz_readers.py"))
READERS = FUZZ["readers"]()


@pytest.mark.parametrize("kind", READERS)
def test_whole_files_are_read(kind, tmp_path):
    assert FUZZ["outcome"](READERS[kind], "none", [], tmp_path) == "read"


@pytest.mark.slow
@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(of=st.sampled_from(FUZZ["files_of"](READERS)), edits=FUZZ["EDITS"])
def test_damaged_files_are_read_or_refused_in_one_line(of, edits, tmp_path):
    kind, file = of
    assert FUZZ["outcome"](READERS[kind], file, edits, tmp_path) in ("read", "read with a warning", "refused")
