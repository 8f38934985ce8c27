"""A NumPyro program and rotated data in, NUTS draws as an ArviZ DataTree out. Knows no program."""

import functools
import inspect
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, runtime_checkable

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy, unconstrain_fn
from xarray import DataTree

from bayeslmm.checks import InputError
from bayeslmm.precision import in_float64
from bayeslmm.priors import describe
from bayeslmm.progress import progress_bar
from bayeslmm.spectrum import JointData, RotatedData

# ArviZ puts a lazy stand-in for numpyro into sys.modules. If `import numpyro.distributions` is what then loads it,
# the submodules stay unbound in their packages (lazy_loader 0.6) and numpyro.factor fails: bind them.
for _name, _module in [item for item in sys.modules.items() if item[0].startswith("numpyro.")]:
    _parent, _, _child = _name.rpartition(".")
    if not hasattr(sys.modules[_parent], _child):
        setattr(sys.modules[_parent], _child, _module)

_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy")
_DATA_DIMS = {"y": ["eigenvector", "trait"], "s": ["eigenvector"], "X": ["eigenvector", "covariate"]}
_COMPILED = itertools.count(1)
_COMPILED_KEPT = 16
_STEPS = 50  # of all chains between two looks at the clock
_MOST_DENSE = 20  # with 64 in place of it, four traits with 44 fixed effects take three times as long
CONVENTION = "y = X beta + g + e, g ~ N(0, sigma2_u K); h2 = sigma2_u / (sigma2_u + sigma2_e); pve scales K by k_scale"


@runtime_checkable
class Program(Protocol):
    """A module (or any object) that holds a NumPyro program, as the files of `bayeslmm.models` do.

    Attributes:
        DIMS: the dimensions of each site, for ArviZ, and of y, s and X where they are not those of one trait.
        model: called as ``model(data)`` or ``model(data, prior)``; its observed site is named "y". Sites whose names
            begin with an underscore are its own affair: they are sampled, but not kept.
        start: called as ``start(data)`` for the values of the sites from which the chains start.

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


@in_float64
def sample(
    program: Program | Callable[..., None],
    data: RotatedData | JointData,
    *,
    seed: int,
    prior: Any = None,
    start: Mapping[str, ArrayLike] | None = None,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 1000,
    target_accept: float = 0.8,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> DataTree:
    """Draw from the posterior of a program with NUTS.

    The chains start from the Laplace approximation at ``program.start`` (REML, for ours): each at its own draw of
    it, with its covariance as the first mass matrix. They adapt a dense mass matrix and run in threads, in float64.
    Sites of more than 20 elements (many fixed effects, missing values) get a diagonal one, since what a warm-up learns
    of so many covariances slows the sampler down, and start from the same values in all chains. The same seed gives
    the same draws on the same machine.

    Args:
        program: a module of `bayeslmm.models`, an object like one, or a bare model function (its chains start at
            random and its dimensions get numbers for names).
        data: one cohort in the eigenbasis, as the program wants it.
        seed: of all random numbers.
        prior: passed to the model as its second argument; by default the model's own.
        start: values of the sites to start from; by default ``program.start(data)``.
        chains: how many, run side by side.
        draws: kept draws per chain.
        warmup: adaptation steps per chain.
        target_accept: raise it towards 1 if there are divergences.
        coords: names of traits and covariates, such as `Cohort.coords`.
        attrs: kept with the result, beside versions, seed, priors, k_scale, n and the convention.

    Returns:
        DataTree with groups posterior, sample_stats, observed_data (y) and constant_data (s, X; E of several traits).

    Raises:
        InputError: if a number of chains or draws is not positive.

    Source: Hoffman and Gelman (2014), JMLR 15:1593; Phan et al. (2019), arXiv:1912.11554.
    """
    for name, value in (("chains", chains), ("draws", draws), ("warmup", warmup)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, but {value} was given")
    model, dims, start = _parts(program, data, start)
    prior = _default_prior(model) if prior is None else prior
    own = _Model(model, prior)
    prepare = getattr(program, "prepare", None)
    arrays = prepare(data) if prepare else ()
    if not prepare:  # all of its data are constants of a program that is compiled for this run alone
        own = _Model(lambda _, *rest: model(data, *rest), prior)
    key_start, key_scatter, key_run = jax.random.split(jax.random.key(seed), 3)
    if start is None:
        point = initialize_model(key_start, own.model, model_args=own.arguments(arrays)).param_info.z
    else:
        point = _unconstrain(own)(arrays, {name: jnp.asarray(value) for name, value in start.items()})
    large = {name: value for name, value in point.items() if value.size > _MOST_DENSE}
    layout = tuple((name, value.shape) for name, value in sorted(point.items()) if name not in large)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in map(np.asarray, jax.tree.leaves((arrays, large))))
    sampler = _sampler(own, layout, (chains, *shapes), warmup, target_accept)

    centre = jnp.concatenate([point[name].ravel() for name, _ in layout]) if layout else jnp.zeros(0)
    flat = _Place(jnp.zeros(centre.size), jnp.eye(centre.size))
    place = _Place(centre, _laplace_spread(lambda points: sampler.gradients(points, large, flat, arrays), centre))
    position = {name: jnp.repeat(value[None], chains, axis=0) for name, value in large.items()}
    if layout:
        position[_DENSE] = jax.random.normal(key_scatter, (chains, centre.size))
    trace = _run(sampler, position, jax.random.split(key_run, chains), (arrays, place), draws, warmup)
    draws_of = jax.device_get(sampler.constrain(trace.position, arrays, place))
    tree = arviz_base.from_dict(
        {
            "posterior": {name: values for name, values in draws_of.items() if not name.startswith("_")},
            "sample_stats": {
                "diverging": trace.diverging,
                "energy": trace.energy,
                "n_steps": trace.n_steps,
                "tree_depth": np.log2(trace.n_steps).astype(int) + 1,
                "acceptance_rate": trace.acceptance_rate,
            },
            "observed_data": {"y": np.asarray(data.Y)},
            "constant_data": _constant_data(data),
        },
        coords={name: list(values) for name, values in (coords or {}).items()},
        dims={**_DATA_DIMS, **dims},
    )
    tree.attrs |= {
        **{f"version_{name}": version(name) for name in _PACKAGES},
        "model": f"{model.__module__}.{model.__name__}",
        "seed": seed,
        "prior": json.dumps(_described(prior)),
        "n": len(data.s),
        "k_scale": float(data.k_scale),
        "convention": CONVENTION,
    }
    tree.attrs |= dict(attrs or {})
    return tree


_DENSE = "_dense"
"""Where the chains have all small sites: in coordinates of the Laplace approximation, w with z = centre + spread w."""

Sites = dict[str, jax.Array]
Layout = tuple[tuple[str, tuple[int, ...]], ...]


class _Model(NamedTuple):
    """A program and its prior, if it takes one."""

    model: Callable[..., None]
    prior: Any

    def arguments(self, arrays: Any) -> tuple[Any, ...]:
        return (arrays,) if self.prior is None else (arrays, self.prior)


class _Place(NamedTuple):
    """The Laplace approximation of the small sites on the real line, shapes (d,) and (d, d)."""

    centre: jax.Array
    spread: jax.Array


class _Trace(NamedTuple):
    """What is kept of the chains: arrays whose first axes are chains and draws."""

    position: Any
    diverging: Any
    energy: Any
    n_steps: Any
    acceptance_rate: Any


class _Sampler(NamedTuple):
    """Compiled functions; arrays are those of the program's data.

    Attributes:
        gradients: (points (m, d), large sites, place, arrays) -> gradient of the potential at each point (m, d).
        initialise: (position, key, arrays, place) -> state of one chain.
        advance: (state, arrays, place) -> its state after 50 steps, and the trace of these steps.
        constrain: (positions of chains and draws, arrays, place) -> values of all sites.
    """

    gradients: Callable[..., jax.Array]
    initialise: Callable[..., Any]
    advance: Callable[..., tuple[Any, _Trace]]
    constrain: Callable[..., Any]


@functools.lru_cache(maxsize=_COMPILED_KEPT)
def _unconstrain(own: _Model) -> Callable[[Any, Sites], Sites]:
    """Return a function from values of the sites to the real line."""
    return jax.jit(lambda arrays, values: unconstrain_fn(own.model, own.arguments(arrays), {}, values))


@functools.lru_cache(maxsize=_COMPILED_KEPT)
def _sampler(own: _Model, layout: Layout, shapes: Any, warmup: int, target_accept: float) -> _Sampler:
    """Return the sampler of a program, compiled when it is used first: for one set of shapes of chains and arrays."""
    _forget_now_and_then()

    def to_sites(position: Sites, place: _Place) -> Sites:
        sites = {name: value for name, value in position.items() if name != _DENSE}
        if layout:
            flat = place.centre + place.spread @ position[_DENSE]
            ends = np.cumsum([int(np.prod(shape)) for _, shape in layout])
            parts = jnp.split(flat, ends[:-1])
            sites |= {name: part.reshape(shape) for (name, shape), part in zip(layout, parts, strict=True)}
        return sites

    def potential(position: Sites, arrays: Any, place: _Place) -> jax.Array:
        return jnp.asarray(potential_energy(own.model, own.arguments(arrays), {}, to_sites(position, place)))

    init, step = hmc(potential_fn_gen=lambda *arguments: lambda z: potential(z, *arguments), algo="NUTS")
    dense: Any = [(_DENSE,)] if layout else False  # its annotation knows only bool

    def initialise(position: Sites, key: jax.Array, arrays: Any, place: _Place) -> Any:
        return init(
            position,
            warmup,
            dense_mass=dense,
            target_accept_prob=target_accept,
            model_args=(arrays, place),
            rng_key=key,
        )

    def advance(state: Any, arrays: Any, place: _Place) -> tuple[Any, _Trace]:
        def one(state: Any, _: None) -> tuple[Any, _Trace]:
            state = step(state, (arrays, place))
            return state, _Trace(state.z, state.diverging, state.energy, state.num_steps, state.accept_prob)

        return jax.lax.scan(one, state, None, length=_STEPS)

    def constrain(position: Sites, arrays: Any, place: _Place) -> Any:
        sites = to_sites(position, place)
        return constrain_fn(own.model, own.arguments(arrays), {}, sites, return_deterministic=True)

    def slope(w: jax.Array, large: Sites, place: _Place, arrays: Any) -> jax.Array:
        return jax.grad(lambda w: potential(large | {_DENSE: w}, arrays, place))(w)

    return _Sampler(
        gradients=jax.jit(jax.vmap(slope, in_axes=(0, None, None, None))),
        initialise=jax.jit(initialise),
        advance=jax.jit(advance),
        constrain=jax.jit(jax.vmap(jax.vmap(constrain, in_axes=(0, None, None)), in_axes=(0, None, None))),
    )


def _forget_now_and_then() -> None:
    """Empty the caches of JAX after every 16 samplers.

    JAX keeps each to its end, in some 1,000 memory maps: Linux allows a process 65,530 of them, and XLA dies of a
    segmentation fault at the next.
    """
    if next(_COMPILED) % _COMPILED_KEPT == 0:
        _sampler.cache_clear()
        _unconstrain.cache_clear()
        jax.clear_caches()


def _run(
    sampler: _Sampler, position: Sites, keys: jax.Array, arguments: tuple[Any, _Place], draws: int, warmup: int
) -> _Trace:
    """Let the chains warm up and draw, each in a thread: side by side in one array they would wait for each other."""
    states = [
        sampler.initialise({name: values[c] for name, values in position.items()}, key, *arguments)
        for c, key in enumerate(keys)
    ]
    sampler.advance(states[0], *arguments)  # for what it compiles: threads would do so at the same time
    skipped, first = divmod(warmup, _STEPS)  # blocks without a draw; steps of warm-up in the one after them

    @in_float64  # which is a matter of each thread
    def chain(state: Any) -> _Trace:
        blocks: list[_Trace] = []
        for number in range(-(-(warmup + draws) // _STEPS)):
            state, block = sampler.advance(state, *arguments)
            if number >= skipped:
                blocks.append(jax.device_get(block))
            bar.update(min(_STEPS, warmup + draws - number * _STEPS))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[first : first + draws], *blocks)

    with (
        progress_bar("NUTS", total=len(states) * (warmup + draws), unit="step") as bar,
        ThreadPoolExecutor(_threads()) as pool,
    ):
        return jax.tree.map(lambda *chains: np.stack(chains), *pool.map(chain, states))


def _threads() -> int:
    """Return how many chains run at once: as many as there are processors, or as OMP_NUM_THREADS allows."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _parts(
    program: Program | Callable[..., None], data: RotatedData | JointData, start: Mapping[str, ArrayLike] | None
) -> tuple[Callable[..., None], Mapping[str, Sequence[str]], Mapping[str, ArrayLike] | None]:
    if isinstance(program, Program):
        return program.model, program.DIMS, program.start(data) if start is None else start
    return program, {}, start


def _constant_data(data: RotatedData | JointData) -> dict[str, np.ndarray]:
    """Return what the draws are conditional on, beside y; what is there for each trait side by side."""
    constants = {name: value for name, value in data._asdict().items() if name not in ("Y", "k_scale")}
    whole = {name: np.column_stack(v) if isinstance(v, tuple) else np.asarray(v) for name, v in constants.items()}
    return {name: value for name, value in whole.items() if value.size}


def _laplace_spread(gradients: Callable[[jax.Array], jax.Array], at: jax.Array) -> jax.Array:
    """Return a root of the inverse Hessian of the potential, shape (d, d): the first guess of the posterior spread.

    Away from a mode the Hessian need not be positive definite: its eigenvalues are taken by absolute value
    (Betancourt 2013, arXiv:1212.4693), and directions that it leaves flat get a variance of 10. Differences of
    gradients are good enough for a guess, and compile faster than second derivatives.
    """
    steps = 1e-4 * np.eye(at.size)
    slopes = gradients(jnp.concatenate([at + steps, at - steps]))
    hessian = np.asarray(slopes[: at.size] - slopes[at.size :]) / 2e-4
    curvature, directions = np.linalg.eigh((hessian + hessian.T) / 2)
    return jnp.asarray(directions / np.sqrt(np.maximum(np.abs(curvature), 0.1)))


def _default_prior(model: Callable[..., None]) -> Any:
    """Return the default of the model's second argument; None if it takes no prior."""
    optional = [p.default for p in inspect.signature(model).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return optional[1] if len(optional) > 1 and optional[1] is not inspect.Parameter.empty else None


def _described(prior: Any) -> dict[str, str] | str:
    if prior is None:
        return "inside the model"
    fields = getattr(prior, "_asdict", dict)()
    return {name: describe(value) for name, value in fields.items()} or str(prior)
