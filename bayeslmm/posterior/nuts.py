"""NUTS for a NumPyro program on the real line, compiled once for all data of one shape.

The chains move in coordinates of a Laplace approximation, z = centre + spread w, and start apart in them. Centre,
spread and the arrays of the data are arguments of the compiled functions, so that these serve the next data set as
well.
"""

import functools
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy, unconstrain_fn

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.base.progress import progress_bar
from bayeslmm.base.threads import threads_allowed

_MOST_DENSE = 20  # with 64 in place of it, four traits with 44 fixed effects take three times as long
_DENSE = "_dense"  # where the chains have all small sites, as w
_COMPILED = itertools.count(1)
_COMPILED_KEPT = 16
_STEPS = 50  # of a chain between two looks at the clock
_SCATTER = 3.0  # in standard deviations of the Laplace approximation, where nothing better is known to start from
_HALVINGS = 30

Sites = dict[str, Any]  # arrays of JAX or of NumPy
Layout = tuple[tuple[str, tuple[int, ...]], ...]


class Model(NamedTuple):
    """A program and its prior, if it takes one."""

    model: Callable[..., None]
    prior: Any

    def arguments(self, arrays: Any) -> tuple[Any, ...]:
        """Return what the program is called with."""
        return (arrays,) if self.prior is None else (arrays, self.prior)


class Place(NamedTuple):
    """The Laplace approximation of the small sites on the real line, shapes (d,) and (d, d)."""

    centre: ArrayLike
    spread: ArrayLike


class Trace(NamedTuple):
    """What is kept of the chains: arrays whose first axes are chains and draws."""

    position: Any
    diverging: Any
    energy: Any
    n_steps: Any
    acceptance_rate: Any


class Sampler(NamedTuple):
    """Compiled functions; arrays are those of the program's data.

    Attributes:
        slope: (position, arrays, place) -> the potential, and its gradient by site.
        initialise: (position, potential, gradient, key) -> state of one chain.
        advance: (state, arrays, place) -> its state after 50 steps, and the trace of these steps.
        constrain: (positions of chains and draws, arrays, place) -> values of all sites.
    """

    slope: Callable[..., tuple[jax.Array, Sites]]
    initialise: Callable[..., Any]
    advance: Callable[..., tuple[Any, Trace]]
    constrain: Callable[..., Any]


@functools.lru_cache(maxsize=_COMPILED_KEPT)
def unconstrain(program: Model) -> Callable[[Any, Sites], Sites]:
    """Return a function from values of the sites to the real line."""
    return jax.jit(lambda arrays, values: unconstrain_fn(program.model, program.arguments(arrays), {}, values))


def nuts(
    program: Model,
    arrays: Any,
    at: Sites,
    starts: Sites | None,
    key: jax.Array,
    *,
    chains: int,
    draws: int,
    warmup: int,
    target_accept: float,
) -> tuple[dict[str, Any], Trace]:
    """Draw from the posterior of a program.

    Args:
        program: the program, with its prior.
        arrays: its data.
        at: values of its sites, on the real line: where the Laplace approximation is made.
        starts: the same for each chain (a leading axis), from which the chains start; by default they are scattered
            about the Laplace approximation, three standard deviations wide, all with the same large sites.
        key: Key for all random numbers.
        chains: number of chains.
        draws: kept draws of each chain.
        warmup: adaptation steps of each chain.
        target_accept: mean acceptance rate to which the steps are tuned.

    Returns:
        The draws of all sites, by chain and draw; and the trace of the sampler.

    Raises:
        InputError: if the density is not finite where the Laplace approximation is made.
    """
    key_scatter, key_run = jax.random.split(key)
    large = {name: value for name, value in at.items() if value.size > _MOST_DENSE}
    layout = tuple((name, value.shape) for name, value in sorted(at.items()) if name not in large)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in map(np.asarray, jax.tree.leaves((arrays, large))))
    sampler = _sampler(program, layout, shapes, warmup, target_accept)

    # NumPy: JAX would compile each of these few operations.
    centre = np.concatenate([np.ravel(at[name]) for name, _ in layout]) if layout else np.zeros(0)
    as_it_is = Place(np.zeros(centre.size), np.eye(centre.size))

    def slope(point: np.ndarray) -> jax.Array:
        return sampler.slope(large | {_DENSE: point}, arrays, as_it_is)[1][_DENSE]

    spread = _laplace_spread(slope, centre)
    home = dict(large)
    position = {name: np.repeat(np.asarray(value)[None], chains, axis=0) for name, value in large.items()}
    if starts is not None:
        position = {name: np.asarray(starts[name]) for name in large}
    if layout:
        home[_DENSE] = np.zeros(centre.size)
        if starts is None:
            position[_DENSE] = _SCATTER * np.asarray(jax.random.normal(key_scatter, (chains, centre.size)))
        else:
            flat = np.concatenate([np.reshape(starts[name], (chains, -1)) for name, _ in layout], axis=1)
            position[_DENSE] = np.linalg.solve(spread, (flat - centre).T).T
    place = Place(centre, spread)
    trace = _run(sampler, home, position, jax.random.split(key_run, chains), (arrays, place), draws, warmup)
    return jax.device_get(sampler.constrain(trace.position, arrays, place)), trace


@functools.lru_cache(maxsize=_COMPILED_KEPT)
def _sampler(program: Model, layout: Layout, shapes: Any, warmup: int, target_accept: float) -> Sampler:
    """Return the sampler of a program for arrays of some shapes, compiled when it is used first."""
    _forget_now_and_then()

    def to_sites(position: Sites, place: Place) -> Sites:
        sites = {name: value for name, value in position.items() if name != _DENSE}
        if layout:
            flat = place.centre + jnp.asarray(place.spread) @ position[_DENSE]
            ends = np.cumsum([int(np.prod(shape)) for _, shape in layout])
            parts = jnp.split(flat, ends[:-1])
            sites |= {name: part.reshape(shape) for (name, shape), part in zip(layout, parts, strict=True)}
        return sites

    def potential(position: Sites, arrays: Any, place: Place) -> jax.Array:
        return jnp.asarray(potential_energy(program.model, program.arguments(arrays), {}, to_sites(position, place)))

    init, step = hmc(potential_fn_gen=lambda *arguments: lambda z: potential(z, *arguments), algo="NUTS")
    dense: Any = [(_DENSE,)] if layout else False  # its annotation has only bool

    def initialise(position: Sites, energy: jax.Array, gradient: Sites, key: jax.Array) -> Any:
        known = ParamInfo(position, energy, gradient)  # so that the model is not compiled for the start as well
        return init(
            known, warmup, dense_mass=dense, target_accept_prob=target_accept, model_args=(None, None), rng_key=key
        )

    def advance(state: Any, arrays: Any, place: Place) -> tuple[Any, Trace]:
        def advanced(state: Any, _: None) -> tuple[Any, Trace]:
            state = step(state, (arrays, place))
            return state, Trace(state.z, state.diverging, state.energy, state.num_steps, state.accept_prob)

        return jax.lax.scan(advanced, state, None, length=_STEPS)

    def constrain(position: Sites, arrays: Any, place: Place) -> Any:
        sites = to_sites(position, place)
        return constrain_fn(program.model, program.arguments(arrays), {}, sites, return_deterministic=True)

    return Sampler(
        slope=jax.jit(jax.value_and_grad(potential)),
        initialise=jax.jit(initialise),
        advance=jax.jit(advance),
        constrain=jax.jit(jax.vmap(jax.vmap(constrain, in_axes=(0, None, None)), in_axes=(0, None, None))),
    )


def _forget_now_and_then() -> None:
    """Empty the caches of JAX after every 16 samplers.

    JAX keeps each until the process ends, in some 1,000 memory maps: Linux allows 65,530 of them, and at the next
    one XLA ends in a segmentation fault.
    """
    if next(_COMPILED) % _COMPILED_KEPT == 0:
        _sampler.cache_clear()
        unconstrain.cache_clear()
        jax.clear_caches()


def _run(
    sampler: Sampler,
    home: Sites,
    position: Sites,
    keys: jax.Array,
    arguments: tuple[Any, Place],
    draws: int,
    warmup: int,
) -> Trace:
    """Let the chains warm up and draw, each in a thread: side by side in one array they would wait for each other."""
    states = [
        _initial_state(sampler, home, {name: values[c] for name, values in position.items()}, key, arguments)
        for c, key in enumerate(keys)
    ]
    sampler.advance(states[0], *arguments)  # to compile it once: all threads would do so at the same time
    skipped, first = divmod(warmup, _STEPS)  # blocks without a draw; steps of warm-up in the one after them
    stopped = threading.Event()  # by Ctrl-C, or by a chain that failed: the others would go on to their end

    @in_float64  # a setting of each thread
    def chain(state: Any) -> Trace:
        blocks: list[Trace] = []
        for number in range(-(-(warmup + draws) // _STEPS)):
            if stopped.is_set():
                raise CancelledError
            state, block = sampler.advance(state, *arguments)
            if number >= skipped:
                blocks.append(jax.device_get(block))
            bar.update(min(_STEPS, warmup + draws - number * _STEPS))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[first : first + draws], *blocks)

    with (
        progress_bar("NUTS", total=len(states) * (warmup + draws), unit="step") as bar,
        ThreadPoolExecutor(threads_allowed()) as pool,
    ):
        try:
            chains = [pool.submit(chain, state) for state in states]
            for done in wait(chains, return_when=FIRST_EXCEPTION).done:
                done.result()
        except BaseException:
            stopped.set()
            raise
    return jax.tree.map(lambda *traces: np.stack(traces), *(done.result() for done in chains))


def _initial_state(sampler: Sampler, home: Sites, position: Sites, key: jax.Array, arguments: tuple[Any, Place]) -> Any:
    """Return the state of a chain that starts here, or half as far from home while the density here is not finite.

    Scattered positions have no bounds: far out in the tails a variance may be 0 or infinite.

    Raises:
        InputError: if that does not help.
    """
    for _ in range(_HALVINGS):
        energy, gradient = sampler.slope(position, *arguments)
        if all(np.isfinite(part).all() for part in jax.tree.leaves((energy, gradient))):
            return sampler.initialise(position, energy, gradient, key)
        position = {name: (home[name] + value) / 2 for name, value in position.items()}
    raise InputError("the density of the model is not finite near its starting values: choose others")


def _laplace_spread(gradient: Callable[[np.ndarray], jax.Array], at: np.ndarray) -> np.ndarray:
    """Return a root of the inverse Hessian of the potential, shape (d, d): the first guess of the posterior spread.

    Away from a mode the Hessian need not be positive definite: its eigenvalues are taken by absolute value
    (Betancourt 2013, arXiv:1212.4693), and directions that it leaves flat get a variance of 10. Differences of
    gradients are good enough for a guess, and compile faster than second derivatives.
    """
    steps = 1e-4 * np.eye(at.size)
    slopes = np.array([gradient(at + step) for step in (*steps, *-steps)]).reshape(2 * at.size, at.size)
    if not np.isfinite(slopes).all():
        raise InputError(
            "the density of the model is not finite, or not smooth, at its starting values: choose values inside the "
            "support of each prior"
        )
    hessian = (slopes[: at.size] - slopes[at.size :]) / 2e-4
    curvature, directions = np.linalg.eigh((hessian + hessian.T) / 2)
    return directions / np.sqrt(np.maximum(np.abs(curvature), 0.1))
