"""A NumPyro program and rotated data in, NUTS draws as an ArviZ DataTree out."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpyro.infer.util import initialize_model
from xarray import DataTree

from bayeslmm.base.checks import InputError, check_at_least
from bayeslmm.base.defaults import CHAINS, DRAWS, TARGET_ACCEPT, WARMUP
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.priors import describe
from bayeslmm.posterior.nuts import Model, Sites, nuts, unconstrain
from bayeslmm.posterior.tree import Data, draws_tree

# ArviZ puts a lazy stand-in for numpyro into sys.modules. If `import numpyro.distributions` is what then loads it,
# the submodules stay unbound in their packages (lazy_loader 0.6) and numpyro.factor fails: bind them.
for _name, _module in [item for item in sys.modules.items() if item[0].startswith("numpyro.")]:
    _parent, _, _child = _name.rpartition(".")
    if not hasattr(sys.modules[_parent], _child):
        setattr(sys.modules[_parent], _child, _module)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@runtime_checkable
class Program(Protocol):
    """A module (or any object) that holds a NumPyro program, as the files of `bayeslmm.models` do.

    Attributes:
        DIMS: the dimensions of each site, for ArviZ, and of y, s and X where they are not those of one trait.
        model: called as ``model(data)`` or ``model(data, prior)``; its observed site is named "y". Sites whose names
            begin with an underscore are sampled, but not kept.
        start: called as ``start(data)`` for the values of the sites about which the chains start.

    It may have a function ``starts(data, prior, chains, seed)`` too, which returns such values for each chain. Chains
    that start in all parts of the posterior find its modes, or disagree, which R-hat shows; without it they start
    scattered about ``start``.

    It may have a function ``prepare(data)`` too, which returns arrays in a pytree that the model takes in place of the
    data. What is computed there is computed once, and a sampler that was compiled for them serves all data of the same
    shape; else each run compiles its own, a matter of seconds.
    """

    @property
    def DIMS(self) -> Mapping[str, Sequence[str]]:
        """Names of the dimensions of each site."""
        ...

    @property
    def model(self) -> Callable[..., None]:
        """The program."""
        ...

    @property
    def start(self) -> Callable[..., Mapping[str, ArrayLike]]:
        """Returns starting values in the support of each site."""
        ...


def takes_prior(program: Program | Callable[..., None]) -> bool:
    """Return whether a program is called with a prior as its second argument."""
    return len(_positional(program.model if isinstance(program, Program) else program)) > 1


@in_float64
def sample(
    program: Program | Callable[..., None],
    data: Data,
    *,
    seed: int,
    prior: Any = None,
    start: Mapping[str, ArrayLike] | None = None,
    chains: int = CHAINS,
    draws: int = DRAWS,
    warmup: int = WARMUP,
    target_accept: float = TARGET_ACCEPT,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> DataTree:
    """Draw from the posterior of a program with NUTS.

    The chains start apart, so that they disagree if one of them does not leave a part of the posterior: from
    ``program.starts``, which for `bayeslmm.models` are draws of the quadrature, or spread over the priors where there
    is none. Those of a program without it are scattered three standard deviations wide about the Laplace approximation
    at ``program.start``, and those of a bare function at random. A start at which the density is not finite is moved
    half the way to the centre until it is.

    The covariance of the Laplace approximation at ``program.start`` (REML, for `bayeslmm.models`) is the first mass
    matrix. The chains adapt a dense one and run in threads, in float64. Sites of more than 20 elements (many fixed
    effects, missing values) get a diagonal one, since adapting so many covariances slows the sampler down; they are not
    scattered. The same seed gives the same draws on the same machine, for any number of threads.

    Args:
        program: a module of `bayeslmm.models`, an object like one, or a bare model function (its chains start at
            random and its dimensions get numbers for names).
        data: one cohort in the eigenbasis, or records with several components: the type that the program takes.
        seed: Seed for all random numbers.
        prior: passed to the model as its second argument; by default the model's own.
        start: values of the sites about which the chains start; by default ``program.start(data)``.
        chains: number of chains, run in parallel.
        draws: kept draws per chain.
        warmup: adaptation steps per chain.
        target_accept: mean acceptance rate of the steps; raise it towards 1 if there are divergences.
        coords: names of traits and covariates, such as `Cohort.coords`.
        attrs: kept with the result, in addition to versions, seed, priors, k_scale, n and the convention.

    Returns:
        DataTree with groups posterior, sample_stats, observed_data (y) and constant_data (s, X; E of several traits).

    Raises:
        InputError: if a number of chains or draws is not positive, target_accept not between 0 and 1, the prior not
            one that the model takes, or the density not finite at the starting values.

    Source: Hoffman and Gelman (2014), JMLR 15:1593; Phan et al. (2019), arXiv:1912.11554.
    """
    check_at_least(1, chains=chains, draws=draws, warmup=warmup)
    if not 0 < target_accept < 1:
        raise InputError(f"target_accept must be between 0 and 1, but {target_accept:g} was given")
    model, dims, start = _parts(program, data, start)
    if prior is None:
        prior = default_prior(model)
    else:
        _check_prior(model, prior)
    if (prepare := getattr(program, "prepare", None)) and _hashable(prior):
        compiled, arrays = Model(model, prior), prepare(data)
    else:  # data and prior are constants of a program that is compiled for this run alone
        arguments = (data,) if prior is None else (data, prior)
        compiled, arrays = Model(lambda _: model(*arguments), None), ()
    key_start, key_draw = jax.random.split(jax.random.key(seed))
    if start is None:
        keys = jax.random.split(key_start, chains)
        random = initialize_model(keys, compiled.model, model_args=compiled.arguments(arrays)).param_info
        best = int(jnp.argmin(random.potential_energy))
        at, starts = {name: value[best] for name, value in random.z.items()}, random.z
    else:
        starts_of = getattr(program, "starts", None)
        at, starts = _places(compiled, arrays, start, starts_of(data, prior, chains, seed) if starts_of else [])
    values, trace = nuts(
        compiled, arrays, at, starts, key_draw, chains=chains, draws=draws, warmup=warmup, target_accept=target_accept
    )
    return draws_tree(
        # ArviZ subtracts draws from each other, which NumPy refuses to do with booleans.
        {
            name: drawn.astype(float) if drawn.dtype == bool else drawn
            for name, drawn in values.items()
            if not name.startswith("_")
        },
        data,
        dims=dims,
        coords=coords,
        attrs={
            "model": f"{model.__module__}.{model.__name__}",
            "seed": seed,
            "target_accept": target_accept,
            "warmup": warmup,
            "prior": describe_prior(prior),
            **(attrs or {}),
        },
        sample_stats={
            "diverging": trace.diverging,
            "energy": trace.energy,
            "n_steps": trace.n_steps,
            "tree_depth": np.log2(trace.n_steps).astype(int) + 1,
            "acceptance_rate": trace.acceptance_rate,
        },
    )


def _hashable(prior: Any) -> bool:
    """Return whether a compiled sampler can be looked up by a prior: not if it holds arrays or is a dict."""
    try:
        hash(prior)
    except TypeError:
        return False
    return True


def _parts(
    program: Program | Callable[..., None],
    data: Data,
    start: Mapping[str, ArrayLike] | None,
) -> tuple[Callable[..., None], Mapping[str, Sequence[str]], Mapping[str, ArrayLike] | None]:
    if isinstance(program, Program):
        return program.model, program.DIMS, program.start(data) if start is None else start
    return program, {}, start


def _places(
    program: Model, arrays: Any, start: Mapping[str, ArrayLike], starts: Sequence[Mapping[str, ArrayLike]]
) -> tuple[Sites, Sites | None]:
    """Return where the Laplace approximation is made, and the starts of the chains if there are any, on the real line.

    Where a prior excludes the values of ``start``, which does not depend on it, the first chain takes their place.

    Raises:
        InputError: if the values of a chain, or the only ones, lie outside the support of a prior.
    """

    def place(values: Mapping[str, ArrayLike]) -> Sites:
        return unconstrain(program)(arrays, {name: np.asarray(value) for name, value in values.items()})

    def outside(place: Sites) -> list[str]:
        return [name for name, z in place.items() if not np.isfinite(z).all()]

    at, of_chains = place(start), [place(values) for values in starts]
    if of_chains and outside(at):
        at = of_chains[0]
    for values in (at, *of_chains):
        if lost := outside(values):
            raise InputError(f"the chains cannot start: the value of {lost[0]!r} is outside the support of its prior")
    return at, {name: np.stack([values[name] for values in of_chains]) for name in at} if of_chains else None


def _positional(model: Callable[..., None]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(model).parameters.values() if p.kind in _POSITIONAL]


def default_prior(model: Callable[..., None]) -> Any:
    """Return the default of the model's second argument; None if it takes no prior."""
    given = _positional(model)
    return given[1].default if len(given) > 1 and given[1].default is not inspect.Parameter.empty else None


def _check_prior(model: Callable[..., None], prior: Any) -> None:
    """Refuse a prior that the model does not take.

    Raises:
        InputError: if the model takes none, or one of another type.
    """
    if not takes_prior(model):
        raise InputError(f"a prior was given, but {model.__name__}{inspect.signature(model)} takes none: leave it out")
    default = default_prior(model)
    if default is not None and not isinstance(prior, type(default)):
        raise InputError(
            f"the prior of {model.__name__} is a {type(default).__name__}, but a {type(prior).__name__} was given"
        )


def describe_prior(prior: Any) -> str:
    """Write a prior as JSON, field by field."""
    if prior is None:
        return json.dumps("inside the model")
    fields = getattr(prior, "_asdict", dict)()
    return json.dumps({name: describe(value) for name, value in fields.items()} or str(prior))
