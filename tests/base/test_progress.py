import io
import sys
import time

import pytest

from bayeslmm.base import progress
from bayeslmm.base.progress import forecast, stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "patience", "said"), [(Terminal, 0.0, True), (Terminal, 60.0, False), (io.StringIO, 0.0, False)]
)
def test_a_long_stage_is_named_on_a_terminal_and_its_name_is_removed(monkeypatch, stream, patience, said):
    monkeypatch.setattr(progress, "_PATIENCE", patience)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", there := stream())
        with stage("kinship"):
            for _ in range(100):
                if there.getvalue():
                    break
                time.sleep(0.02 if said else 0.001)
    text = there.getvalue()
    assert text.startswith("\rkinship ...") == said
    assert (text == "") == (not said)
    if said:
        last = text.split("\r")
        assert last[-2].strip() == ""
        assert len(last[-2]) == len("kinship ...")


def test_a_stage_that_fails_is_removed_too(monkeypatch):
    monkeypatch.setattr(sys, "stderr", there := Terminal())
    with pytest.raises(ValueError, match="no"), stage("kinship"):
        raise ValueError("no")
    assert there.getvalue() == ""


@pytest.mark.parametrize(
    ("stream", "seconds", "workers", "said"),
    [
        (Terminal, 2.125, 1, "drawing: 1,001 likelihoods of 2.1 s: at most 35 minutes\n"),
        (Terminal, 2.125, 2, "drawing: 1,001 likelihoods of 2.1 s, 2 at a time: at most 18 minutes\n"),
        (Terminal, 0.03, 1, "drawing: 1,001 likelihoods of 0.03 s: at most 30 seconds\n"),
        (Terminal, 0.029, 1, ""),
        (io.StringIO, 2.125, 1, ""),
    ],
)
def test_a_long_step_is_forecast_on_a_terminal(monkeypatch, stream, seconds, workers, said):
    monkeypatch.setattr(sys, "stderr", there := stream())
    forecast("drawing", count=1001, unit="likelihood", seconds=seconds, workers=workers)
    assert there.getvalue() == said
