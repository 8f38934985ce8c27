"""A NumPyro program and rotated data in, NUTS draws as an ArviZ DataTree out. Knows no program."""

import inspect
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy, unconstrain_fn
from xarray import DataTree

from bayeslmm.checks import InputError
from bayeslmm.precision import in_float64
from bayeslmm.priors import describe
from bayeslmm.progress import on_terminal
from bayeslmm.spectrum import JointData, RotatedData

# ArviZ puts a lazy stand-in for numpyro into sys.modules. If `import numpyro.distributions` is what then loads it,
# the submodules stay unbound in their packages (lazy_loader 0.6) and numpyro.factor fails: bind them.
for _name, _module in [item for item in sys.modules.items() if item[0].startswith("numpyro.")]:
    _parent, _, _child = _name.rpartition(".")
    if not hasattr(sys.modules[_parent], _child):
        setattr(sys.modules[_parent], _child, _module)

_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy")
_SAMPLE_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
}
_DATA_DIMS = {"y": ["eigenvector", "trait"], "s": ["eigenvector"], "X": ["eigenvector", "covariate"]}
_RUNS = itertools.count(1)
_RUNS_KEPT = 16
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
    it, with its covariance as the first mass matrix. They adapt a dense mass matrix and run side by side in float64.
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
    arguments = (data,) if prior is None else (data, prior)
    key_start, key_scatter, key_run = jax.random.split(jax.random.key(seed), 3)
    # The potential, not the model: NumPyro would run the model op by op to find what is known here.
    potential = jax.jit(lambda z: potential_energy(model, arguments, {}, z))
    point = _unconstrained_start(model, arguments, start, key_start)
    large = {name: value for name, value in point.items() if value.size > _MOST_DENSE}
    centre, unravel = ravel_pytree({name: value for name, value in point.items() if name not in large})
    spread = _laplace_spread(lambda flat: potential(large | unravel(flat)), centre)
    dense = tuple(sorted(set(point) - set(large)))
    mcmc = MCMC(
        NUTS(
            potential_fn=potential,
            dense_mass=[dense] if dense else [],  # pyright: ignore[reportArgumentType] (a list is documented)
            inverse_mass_matrix={dense: spread @ spread.T} if dense else None,
            target_accept_prob=target_accept,
        ),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=on_terminal(),
    )
    starts = jax.vmap(unravel)(centre + jax.random.normal(key_scatter, (chains, centre.size)) @ spread.T)
    starts |= {name: jnp.repeat(value[None], chains, axis=0) for name, value in large.items()}
    if chains == 1:  # NumPyro wants no axis of chains then
        starts = jax.tree.map(lambda values: values[0], starts)
    mcmc.run(key_run, init_params=starts, extra_fields=tuple(_SAMPLE_STATS))
    constrain = jax.jit(jax.vmap(jax.vmap(lambda z: constrain_fn(model, arguments, {}, z, return_deterministic=True))))
    draws_of = jax.device_get(constrain(mcmc.get_samples(group_by_chain=True)))
    tree = arviz_base.from_dict(
        {
            "posterior": {name: values for name, values in draws_of.items() if not name.startswith("_")},
            "sample_stats": _sample_stats(mcmc),
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
    _forget_now_and_then()
    return tree


def _forget_now_and_then() -> None:
    """Empty the caches of JAX after every 16 runs.

    Each run compiles a sampler that JAX keeps to its end, in some 1,000 memory maps: Linux allows a process 65,530 of
    them, and XLA dies of a segmentation fault at the next.
    """
    if next(_RUNS) % _RUNS_KEPT == 0:
        jax.clear_caches()


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


def _unconstrained_start(
    model: Callable[..., None], arguments: tuple[Any, ...], start: Mapping[str, ArrayLike] | None, key: jax.Array
) -> dict[str, jax.Array]:
    """Return the point from which the chains start, on the real line."""
    if start is None:
        return initialize_model(key, model, model_args=arguments).param_info.z
    values = {name: jnp.asarray(value) for name, value in start.items()}
    return jax.jit(lambda values: unconstrain_fn(model, arguments, {}, values))(values)


def _laplace_spread(potential: Callable[[jax.Array], jax.Array], at: jax.Array) -> jax.Array:
    """Return a root of the inverse Hessian of the potential, shape (d, d): the first guess of the posterior spread.

    Away from a mode the Hessian need not be positive definite: its eigenvalues are taken by absolute value
    (Betancourt 2013, arXiv:1212.4693), and directions that it leaves flat get a variance of 10. Differences of
    gradients are good enough for a guess, and compile faster than second derivatives.
    """
    steps = 1e-4 * np.eye(at.size)
    gradients = jax.jit(jax.vmap(jax.grad(potential)))(jnp.concatenate([at + steps, at - steps]))
    hessian = np.asarray(gradients[: at.size] - gradients[at.size :]) / 2e-4
    curvature, directions = np.linalg.eigh((hessian + hessian.T) / 2)
    return jnp.asarray(directions / np.sqrt(np.maximum(np.abs(curvature), 0.1)))


def _sample_stats(mcmc: MCMC) -> dict[str, np.ndarray]:
    fields = jax.device_get(mcmc.get_extra_fields(group_by_chain=True))
    stats = {name: fields[field] for field, name in _SAMPLE_STATS.items()}
    return stats | {"tree_depth": np.log2(stats["n_steps"]).astype(int) + 1}


def _default_prior(model: Callable[..., None]) -> Any:
    """Return the default of the model's second argument; None if it takes no prior."""
    optional = [p.default for p in inspect.signature(model).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return optional[1] if len(optional) > 1 and optional[1] is not inspect.Parameter.empty else None


def _described(prior: Any) -> dict[str, str] | str:
    if prior is None:
        return "inside the model"
    fields = getattr(prior, "_asdict", dict)()
    return {name: describe(value) for name, value in fields.items()} or str(prior)
