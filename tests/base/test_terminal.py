"""However a command ends, and whoever reads what it prints: one line, a code, and no result lost."""

import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import bayeslmm as bl
from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.terminal import Terminated, careful_streams
from bayeslmm.commands import main as main_module
from bayeslmm.commands.answer import Answer
from bayeslmm.models import univariate
from bayeslmm.posterior import nuts


def ended(monkeypatch, capsys, do):
    """Run a command that does something; return its code and what it says on standard error."""
    monkeypatch.setattr(main_module, "parse", lambda typed, options: options)
    monkeypatch.setattr(main_module, "run_command", lambda options: do() or Answer())
    return main_module.main([]), capsys.readouterr().err


def failing(error):
    def do():
        raise error

    return do


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (bl.InputError("a\nb\x1b"), 2, "bayeslmm: error: a b\\x1b\n"),
        (AnalysisError("it does not end"), 1, "bayeslmm: error: it does not end\n"),
        (MemoryError("8 EiB"), 1, "bayeslmm: error: there is not enough memory (8 EiB): use fewer"),
        (KeyboardInterrupt(), 130, "bayeslmm: interrupted\n"),
        (Terminated(), 143, "bayeslmm: terminated\n"),
    ],
)
def test_each_end_has_its_line_and_code(monkeypatch, capsys, error, code, line):
    found, said = ended(monkeypatch, capsys, failing(error))
    assert found == code
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_fault_of_ours_says_so_and_keeps_its_traceback(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, said = ended(monkeypatch, capsys, lambda: 1 / 0)
    assert code == 70
    assert said.count("\n") == 1
    (path,) = re.findall(r"ZeroDivisionError: division by zero \(this is a bug in bayeslmm: .*, in (.*)\)", said)
    with open(path, encoding="utf-8") as kept:
        assert "Traceback" in kept.read()


def test_sigterm_ends_a_run_as_an_exception_does(monkeypatch, capsys):
    undone = []

    def do():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            undone.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert ended(monkeypatch, capsys, do) == (143, "bayeslmm: terminated\n")
    assert undone == [True]
    assert signal.getsignal(signal.SIGTERM) is before


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


class Unread(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize(("stream", "code", "said"), [(Full, 1, "standard output cannot be written"), (Unread, 0, "")])
def test_an_output_that_cannot_be_written_costs_nothing_but_the_output(monkeypatch, capsys, stream, code, said):
    done = []

    def do():
        sys.stdout.write("a\n")
        sys.stdout.write("b\n")
        done.append(True)
        return 0

    monkeypatch.setattr(sys, "stdout", stream())
    found, error = ended(monkeypatch, capsys, do)
    assert (found, done) == (code, [True])
    assert said in error
    assert error.count("\n") == bool(said)


def test_characters_that_an_encoding_lacks_are_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", newline=""))
    with careful_streams():
        sys.stdout.write("h\xe9 \udce9\n")
    assert raw.getvalue() == b"h\\xe9 \\udce9\n"


def test_streams_that_were_closed_are_no_error(tmp_path):
    script = "import sys, bayeslmm.commands.main as c; sys.exit(c.main(['grm', '--bfile', 'absent', '--out', 'k']))"
    closed = f'exec {sys.executable} -c "{script}" >&- 2>&-'
    assert subprocess.run(["bash", "-c", closed], cwd=tmp_path, check=False).returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", str(2**64)], "--seed must be at most 4,294,967,295, but about 10^"),
        (["--seed", "9" * 4000], "--seed must be at most 4,294,967,295, but about 10^"),
        (["--pcs", str(10**20)], "--pcs must be at most 10,000"),
        (["--draws", str(10**12)], "--draws must be at most 1,000,000"),
        (["--prior-h2", "1e-300", "1"], "--prior-h2 must be at least 0.01, but 1e-300 was given"),
        (["--target-accept", "nan"], "--target-accept must be a finite number, but nan was given"),
        (["--covar", ""], "--covar needs a name, but '' was given"),
        (["--covar", "caf\udce9"], "--covar 'caf\\udce9' is not UTF-8, as names must be: rename it"),
    ],
)
def test_values_that_no_command_can_use_are_one_line(capsys, options, message):
    command = ["h2", "--grm", "absent", "--pheno", "absent", "--trait", "x", "--out", "absent"]
    assert main_module.main([*command, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_an_interrupt_stops_all_chains(small_data, monkeypatch):
    """The first look at the clock in the main thread is interrupted: no chain goes on to its end."""
    advanced = []
    sampler = nuts._sampler

    def counting(*arguments):
        compiled = sampler(*arguments)

        def advance(*state):
            advanced.append(1)
            if len(advanced) == 4:
                raise KeyboardInterrupt
            return compiled.advance(*state)

        return compiled._replace(advance=advance)

    counting.cache_clear = sampler.cache_clear
    monkeypatch.setattr(nuts, "_sampler", counting)
    with pytest.raises(KeyboardInterrupt):
        bl.sample(univariate, small_data, seed=1, chains=2, draws=50_000, warmup=100)
    assert len(advanced) < 100


def test_largest_seeds_are_seeds():
    import jax

    assert np.asarray(jax.random.key_data(jax.random.key(2**32 - 1))).shape == (2,)
