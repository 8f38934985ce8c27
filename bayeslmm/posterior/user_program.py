"""A user's own NumPyro program: loaded from its file, tried on the data, its mistakes told by the line they are on."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpyro import handlers
from numpyro.infer import init_to_uniform
from numpyro.infer.util import unconstrain_fn

from bayeslmm.base.checks import InputError, check_readable
from bayeslmm.base.files import sha256
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.posterior.sampling import Program, default_prior

_NO_START = "Cannot find valid initial parameters"  # what NumPyro says


@dataclass(frozen=True)
class OwnProgram:
    """A program of a user's own, as ``--model FILE.py:FUNCTION`` names it.

    Attributes:
        path: its file.
        name: of its function.
        program: the module, if the function is its ``model`` and it has ``DIMS`` and ``start`` too; else the function.
        sha256: of the file, when it was loaded.
    """

    path: Path
    name: str
    program: Program | Callable[..., Any]
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def kind(self) -> str:
        """What it brings, in words."""
        if isinstance(self.program, Program):
            return "with its own dimensions and starting values"
        return "a bare function: its chains start at random"


def file_of(reference: str) -> Path:
    """Return the file that ``FILE.py:FUNCTION`` names.

    Raises:
        InputError: if the text has no colon, or there is no such file.
    """
    path, _, name = reference.rpartition(":")
    if not path or not name.isidentifier():
        raise InputError(f"--model must be FILE.py:FUNCTION, such as own.py:model, but {reference!r} was given")
    return check_readable(path)


def load_program(reference: str) -> OwnProgram:
    """Load the program that ``FILE.py:FUNCTION`` names.

    Raises:
        InputError: if the file is missing or raises an error, or it has no such function, or one that cannot be called
            with the data alone.
    """
    path, name = file_of(reference), reference.rpartition(":")[2]
    # Under a name that hides no other module, and known by it: dataclasses look their module up.
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file: its name must end in .py")
    module, checksum = importlib.util.module_from_spec(spec), sha256(path)
    sys.modules[spec.name] = module
    with all_told(str(path)), mistakes_told(path):
        spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if _is_own(value, spec.name)]
        raise InputError(f"{path} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError) as error:
        try:
            signature = f"its signature is {name}{inspect.signature(function)}"
        except (TypeError, ValueError):
            signature = "it has no signature"
        raise InputError(
            f"{path}: {name} must be callable as {name}(data), a prior being a second argument with a default, but "
            f"{signature} ({error})"
        ) from None
    program = module if name == "model" and isinstance(module, Program) else function
    return OwnProgram(path, name, program, checksum)


@in_float64
def try_program(own: OwnProgram, data: RotatedData | JointData) -> None:
    """Run a program once, at random values of its sites, and refuse what NUTS could not sample, or not as it is meant.

    Raises:
        InputError: if it raises an error, observes or samples nothing, samples what is discrete, holds a trait against
            a distribution of another shape; or if its dimensions or starting values do not fit its sites.
    """
    trace = _traced(own, data)
    sampled = {name: site for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
    if not sampled:
        raise InputError(f"{own} samples nothing: numpyro.sample(...) of each unknown is needed")
    _check_observed(own, trace)
    if isinstance(data, JointData) and (m := sum(E.shape[1] for E in data.E)):
        turned = _traced(own, data._replace(E=tuple(-E for E in data.E)))
        if _log_density(trace) == _log_density(turned):
            raise InputError(
                f"{own} takes the {m} missing values for 0, since it does not look at data.E: use --complete-only, or "
                "sample a value for each column of E and add it to the mean, as models/multivariate.py does"
            )
    if discrete := [name for name, site in sampled.items() if site["fn"].support.is_discrete]:
        raise InputError(f"{own}: the site {discrete[0]!r} is discrete, and NUTS samples continuous ones: sum over it")
    if slashed := [name for name in trace if "/" in name]:
        raise InputError(f"{own}: the site {slashed[0]!r} has a / in its name, which ArviZ has another use for")
    if isinstance(own.program, Program):
        with mistakes_told(own.path):
            start = own.program.start(data)
            apart = getattr(own.program, "starts", None)
            starts = apart(data, default_prior(own.program.model), 2, 0) if apart else []
        _check_starts(own, own.program, start, sampled, data, by="start(data)")
        for one in starts:
            _check_starts(own, own.program, one, sampled, data, by="starts(data, prior, chains, seed)")
        _check_dims(own, own.program.DIMS, trace, {"trait": data.Y.shape[1]})


def _check_starts(
    own: OwnProgram,
    program: Program,
    starts: Mapping[str, ArrayLike],
    sampled: Mapping[str, Any],
    data: RotatedData | JointData,
    *,
    by: str,
) -> None:
    """Refuse starting values that lack a site, have another shape than it, or lie outside its support."""
    if lacking := [name for name in sampled if name not in starts]:
        raise InputError(f"{own}: {by} must return a value of each sampled site, but lacks {lacking[0]!r}")
    for name, site in sampled.items():
        if (found := jnp.shape(starts[name])) != (shape := jnp.shape(site["value"])):
            raise InputError(f"{own}: {by} gives {name!r} the shape {found}, but the site has {shape}")
    prepare = getattr(program, "prepare", lambda data: data)
    try:
        values = {name: jnp.asarray(starts[name]) for name in sampled}
        places = unconstrain_fn(program.model, (prepare(data),), {}, values)
    except ValueError as error:
        raise InputError(f"{own} fails at the values of {by}: {error}") from error
    for name, place in places.items():
        if not jnp.isfinite(place).all():
            raise InputError(f"{own}: {by} gives {name!r} the value {starts[name]}, outside its support")


def _check_dims(
    own: OwnProgram, of: Mapping[str, Sequence[str]], trace: Mapping[str, Any], sizes: dict[str, int]
) -> None:
    """Refuse dimensions that do not fit the shapes of the sites; what is not known of their sizes is learnt."""
    for name, dims in of.items():
        if name not in trace or trace[name].get("is_observed"):
            continue
        shape = jnp.shape(trace[name]["value"])
        if len(dims) != len(shape) or any(sizes.setdefault(*one) != one[1] for one in zip(dims, shape, strict=True)):
            known = "".join(f"; {dim} has {sizes[dim]}" for dim in dims if dim in sizes)
            raise InputError(f"{own}: DIMS says {list(dims)} of the site {name!r}, whose shape is {shape}{known}")


def _traced(own: OwnProgram, data: RotatedData | JointData) -> Mapping[str, Any]:
    """Return the sites of a program at random values, the same at each call."""
    with mistakes_told(own.path):
        model = own.program.model if isinstance(own.program, Program) else own.program
        prepare = getattr(own.program, "prepare", lambda data: data)
        seeded = handlers.substitute(handlers.seed(model, jax.random.key(0)), substitute_fn=init_to_uniform)
        return handlers.trace(seeded).get_trace(prepare(data))


def _log_density(trace: Mapping[str, Any]) -> float:
    observed = [site for site in trace.values() if site["type"] == "sample" and site["is_observed"]]
    return sum(float(jnp.sum(site["fn"].log_prob(site["value"]))) for site in observed)


def _check_observed(own: OwnProgram, trace: Mapping[str, Any]) -> None:
    observed = {name: site for name, site in trace.items() if site["type"] == "sample" and site["is_observed"]}
    if not observed:
        raise InputError(
            f"{own} observes nothing: numpyro.sample('y', ..., obs=data.Y[:, 0]) holds it against the data"
        )
    for name, site in observed.items():
        shape, of_law = jnp.shape(site["value"]), site["fn"].batch_shape + site["fn"].event_shape
        # A column (n, 1) against a law of shape (n,) would be broadcast to n x n terms without a word.
        if not _fits(shape, of_law):
            raise InputError(
                f"{own}: what the site {name!r} observes has shape {shape}, but its distribution {of_law}: they must "
                "be the same (data.Y is a matrix, data.Y[:, 0] its first trait)"
            )


def _fits(shape: tuple[int, ...], of_law: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, of_law) == shape
    except ValueError:
        return False


@contextmanager
def guarded(own: OwnProgram | None, data: RotatedData | JointData) -> Iterator[None]:
    """Try a program on the data, and tell its mistakes in a block that samples it; without a program do nothing.

    Raises:
        InputError: as `try_program`, and with the line of the file if the block fails in it.
    """
    if own is None:
        yield
        return
    with all_told(str(own)):
        try_program(own, data)
    with mistakes_told(own.path):
        yield


@contextmanager
def all_told(what: str) -> Iterator[None]:
    """Turn any error of a block that runs nothing but a user's code into one line.

    Raises:
        InputError: with what went wrong.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} fails: {_said(error)}") from error


@contextmanager
def mistakes_told(path: Path) -> Iterator[None]:
    """Turn an error that the code of a file raises into one line that names where.

    Raises:
        InputError: with the line of the file, and what is wrong there.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a file that ends the program would leave no word
        what = _said(error)
        if isinstance(error, SyntaxError) and _same(error.filename, path):
            raise InputError(f"{path} line {error.lineno}: {what}") from error
        lines = _lines(error, path)
        if lines:
            raise InputError(f"{path} line {lines[-1]}: {what}") from error
        if str(error).startswith(_NO_START):
            raise InputError(
                f"{path}: no values were found at which the program has a finite density, in 100 random tries: look at "
                "the supports of its distributions, or give the file DIMS and start(data), as models/univariate.py has"
            ) from error
        raise


def _said(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _lines(error: BaseException, path: Path) -> list[int]:
    """Return the lines of a file that an error came through."""
    lines: list[int] = []
    trace = error.__traceback__
    while trace:
        if _same(trace.tb_frame.f_code.co_filename, path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines


def _same(filename: str | None, path: Path) -> bool:
    return filename is not None and Path(filename).resolve() == path.resolve()


def _is_own(value: object, module: str) -> bool:
    return inspect.isfunction(value) and value.__module__ == module
