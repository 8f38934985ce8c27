"""A user's NumPyro program: loaded from its file, tried on the data; errors name the line of the file."""

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
class UserProgram:
    """A user's program, named as ``FILE.py:FUNCTION``.

    Attributes:
        path: its file.
        name: name of its function.
        program: the module, if the function is its ``model`` and it has ``DIMS`` and ``start`` too; else the function.
        sha256: checksum of the file when it was loaded.
    """

    path: Path
    name: str
    program: Program | Callable[..., Any]
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def kind(self) -> str:
        """What it defines, in words."""
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
        raise InputError(f"a program must be FILE.py:FUNCTION, such as mine.py:model, but {reference!r} was given")
    return check_readable(path)


def load_program(reference: str) -> UserProgram:
    """Load the program that ``FILE.py:FUNCTION`` names.

    Raises:
        InputError: if the file is missing or raises an error, or it has no such function, or one that cannot be called
            with the data alone.
    """
    path, name = file_of(reference), reference.rpartition(":")[2]
    # Under a name that hides no other module, and known by it: dataclasses look their module up.
    spec = importlib.util.spec_from_file_location(f"user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: its name must end in .py")
    module, checksum = importlib.util.module_from_spec(spec), sha256(path)
    sys.modules[spec.name] = module
    with errors_in_one_line(str(path)), errors_located(path):
        spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if _is_defined_in(value, spec.name)]
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
    return UserProgram(path, name, program, checksum)


@in_float64
def try_program(user: UserProgram, data: RotatedData | JointData) -> None:
    """Run a program once, at random values of its sites, and refuse what NUTS could not sample, or not as intended.

    Raises:
        InputError: if it raises an error, observes or samples nothing, samples a discrete site, or observes a trait
            with a distribution of another shape; or if its dimensions or starting values do not fit its sites.
    """
    trace = _traced(user, data)
    sampled = {name: site for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
    if not sampled:
        raise InputError(f"{user} samples nothing: call numpyro.sample(...) for each unknown")
    _check_observed(user, trace)
    if isinstance(data, JointData) and (m := sum(E.shape[1] for E in data.E)):
        turned = _traced(user, data._replace(E=tuple(-E for E in data.E)))
        if _log_density(trace) == _log_density(turned):
            raise InputError(
                f"{user} takes the {m} missing values as 0, because it does not use data.E: analyse complete records "
                "only, or sample a value for each column of E and add it to the mean, as models/multivariate.py does"
            )
    if discrete := [name for name, site in sampled.items() if site["fn"].support.is_discrete]:
        raise InputError(f"{user}: the site {discrete[0]!r} is discrete, and NUTS samples continuous ones: sum over it")
    if slashed := [name for name in trace if "/" in name]:
        raise InputError(f"{user}: the name of the site {slashed[0]!r} contains a /, which ArviZ reserves for groups")
    if isinstance(user.program, Program):
        with errors_located(user.path):
            start = user.program.start(data)
            apart = getattr(user.program, "starts", None)
            starts = apart(data, default_prior(user.program.model), 2, 0) if apart else []
        _check_starts(user, user.program, start, sampled, data, by="start(data)")
        for values in starts:
            _check_starts(user, user.program, values, sampled, data, by="starts(data, prior, chains, seed)")
        _check_dims(user, user.program.DIMS, trace, {"trait": data.Y.shape[1]})


def _check_starts(
    user: UserProgram,
    program: Program,
    starts: Mapping[str, ArrayLike],
    sampled: Mapping[str, Any],
    data: RotatedData | JointData,
    *,
    by: str,
) -> None:
    """Refuse starting values that lack a site, have another shape than it, or lie outside its support."""
    if lacking := [name for name in sampled if name not in starts]:
        raise InputError(f"{user}: {by} must return a value of each sampled site, but lacks {lacking[0]!r}")
    for name, site in sampled.items():
        if (given := jnp.shape(starts[name])) != (shape := jnp.shape(site["value"])):
            raise InputError(f"{user}: {by} gives {name!r} the shape {given}, but the site has {shape}")
    prepare = getattr(program, "prepare", lambda data: data)
    try:
        values = {name: jnp.asarray(starts[name]) for name in sampled}
        places = unconstrain_fn(program.model, (prepare(data),), {}, values)
    except ValueError as error:
        raise InputError(f"{user} fails at the values of {by}: {error}") from error
    for name, place in places.items():
        if not jnp.isfinite(place).all():
            raise InputError(f"{user}: {by} gives {name!r} the value {starts[name]}, outside its support")


def _check_dims(
    user: UserProgram, dims_of: Mapping[str, Sequence[str]], trace: Mapping[str, Any], sizes: dict[str, int]
) -> None:
    """Refuse dimensions that do not fit the shapes of the sites; a size not in ``sizes`` is that of the first site."""
    for name, dims in dims_of.items():
        if name not in trace or trace[name].get("is_observed"):
            continue
        shape = jnp.shape(trace[name]["value"])
        if len(dims) != len(shape) or any(
            sizes.setdefault(dim, size) != size for dim, size in zip(dims, shape, strict=True)
        ):
            known = "".join(f"; {dim} has {sizes[dim]}" for dim in dims if dim in sizes)
            raise InputError(f"{user}: DIMS says {list(dims)} of the site {name!r}, whose shape is {shape}{known}")


def _traced(user: UserProgram, data: RotatedData | JointData) -> Mapping[str, Any]:
    """Return the sites of a program at random values, the same at each call."""
    with errors_located(user.path):
        model = user.program.model if isinstance(user.program, Program) else user.program
        prepare = getattr(user.program, "prepare", lambda data: data)
        seeded = handlers.substitute(handlers.seed(model, jax.random.key(0)), substitute_fn=init_to_uniform)
        return handlers.trace(seeded).get_trace(prepare(data))


def _log_density(trace: Mapping[str, Any]) -> float:
    observed = [site for site in trace.values() if site["type"] == "sample" and site["is_observed"]]
    return sum(float(jnp.sum(site["fn"].log_prob(site["value"]))) for site in observed)


def _check_observed(user: UserProgram, trace: Mapping[str, Any]) -> None:
    observed = {name: site for name, site in trace.items() if site["type"] == "sample" and site["is_observed"]}
    if not observed:
        raise InputError(
            f"{user} observes nothing: numpyro.sample('y', ..., obs=data.Y[:, 0]) compares it with the data"
        )
    for name, site in observed.items():
        shape, expected = jnp.shape(site["value"]), site["fn"].batch_shape + site["fn"].event_shape
        # A column (n, 1) and a distribution of shape (n,) would be broadcast to n x n terms silently.
        if not _fits(shape, expected):
            raise InputError(
                f"{user}: what the site {name!r} observes has shape {shape}, but its distribution {expected}: they "
                "must be the same (data.Y is a matrix, data.Y[:, 0] its first trait)"
            )


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, expected) == shape
    except ValueError:
        return False


@contextmanager
def guarded(user: UserProgram | None, data: RotatedData | JointData) -> Iterator[None]:
    """Try a program on the data, and locate its errors in a block that samples it; without a program do nothing.

    Raises:
        InputError: as `try_program`, and with the line of the file if the block fails in it.
    """
    if user is None:
        yield
        return
    with errors_in_one_line(str(user)):
        try_program(user, data)
    with errors_located(user.path):
        yield


@contextmanager
def errors_in_one_line(what: str) -> Iterator[None]:
    """Turn any error of a block that runs nothing but a user's code into one line.

    Raises:
        InputError: with what went wrong.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} fails: {_text_of(error)}") from error


@contextmanager
def errors_located(path: Path) -> Iterator[None]:
    """Turn an error that the code of a file raises into one line that names where.

    Raises:
        InputError: with the line of the file, and what is wrong there.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a file that exits would leave no message
        what = _text_of(error)
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


def _text_of(error: BaseException) -> str:
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


def _is_defined_in(value: object, module: str) -> bool:
    return inspect.isfunction(value) and value.__module__ == module
