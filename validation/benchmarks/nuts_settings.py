"""Effective draws per second of NUTS by parametrisation, mass matrix and number of chains.

Our program as `bayeslmm.sample` runs it stands beside NumPyro's own `MCMC` on the same program and on two other
parametrisations of the same posterior: the logarithms of both variances, and the variances as they are. Data: CD8 of
the mice, and traits simulated at h2 = 0 and h2 = 1 on their eigenvalues. Seconds are those of a second run, for which
ours has its compiled code, and NumPyro's compiles again. Writes ``results/nuts_settings.md``; three minutes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from arviz_stats import ess
from numpyro.infer import MCMC, NUTS

import bayeslmm as bl
from bayeslmm.likelihood import one_trait
from bayeslmm.likelihood.priors import in_units
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.models import univariate

VALIDATION = Path(__file__).resolve().parents[1]
MICE = VALIDATION / "data" / "mouse_hs1940"
PARAMETERS = ("h2", "sigma2_u", "sigma2_e")
DRAWS = 1000
TARGET_ACCEPT = 0.9


def main() -> None:
    """Time every setting and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()
    lines = [
        "# NUTS by parametrisation, mass matrix and chains",
        "",
        f"Made by `validation/benchmarks/nuts_settings.py`; {DRAWS:,} draws of each chain after as much warm-up, at an",
        f"acceptance rate of {TARGET_ACCEPT}.",
        "ESS is the smallest bulk effective sample size of h2, sigma2_u and sigma2_e; seconds are those of a second",
        "run, for which `bayeslmm.sample` has its compiled code, and NumPyro's `MCMC` compiles again, as it does for",
        "new data.",
        "",
        "| data | program | mass matrix | chains | s | ESS | ESS per s | divergences |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, data in _data().items():
        runs: list[tuple[str, str, int, Callable[[], tuple[dict[str, np.ndarray], int]]]] = [
            ("ours", "dense, from Laplace", chains, lambda data=data, chains=chains: _ours(data, chains))
            for chains in (1, 2, 4, 8)
        ]
        runs += [
            (label, "dense" if dense else "diagonal", 4, lambda m=model, d=data, dense=dense: _numpyro(m, d, dense))
            for label, model in (("ours", univariate.model), ("log variances", log_variances), ("variances", variances))
            for dense in (True, False)
        ]
        for program, mass, chains, run in runs:
            run()
            begun = time.perf_counter()
            draws, divergences = run()
            seconds = time.perf_counter() - begun
            least = min(float(ess(draws[key].reshape(chains, -1))) for key in PARAMETERS)
            how = f"{mass}, NumPyro's MCMC" if "Laplace" not in mass else mass
            lines.append(
                f"| {name} | {program} | {how} | {chains} | {seconds:.2f} | {least:,.0f} | {least / seconds:,.0f} | "
                f"{divergences} |"
            )
            print(lines[-1], flush=True)
    (options.out / "nuts_settings.md").write_text("\n".join(lines) + "\n")


def _data() -> dict[str, RotatedData]:
    people = bl.measure(bl.read_table(MICE / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(bl.genomic_kinship(MICE / "mouse_hs1940"), people)
    spectrum = bl.decompose(cohort.K)
    data, rng = {"CD8": spectrum.rotate(cohort.Y, cohort.X)}, np.random.default_rng(3)
    for h2 in (0.0, 1.0):
        y = spectrum.U @ (np.sqrt(h2 * spectrum.s + 1 - h2) * rng.standard_normal(len(spectrum.s)))
        data[f"h2 = {h2:g}"] = spectrum.rotate(y[:, None], cohort.X)
    return data


def _ours(data: RotatedData, chains: int) -> tuple[dict[str, np.ndarray], int]:
    tree = bl.sample(univariate, data, seed=1, chains=chains, draws=DRAWS, warmup=DRAWS, target_accept=TARGET_ACCEPT)
    divergences = tree["sample_stats"]["diverging"].to_numpy().sum()
    return {name: tree["posterior"][name].to_numpy() for name in PARAMETERS}, int(divergences)


def _numpyro(model: Callable[..., None], data: RotatedData, dense: bool) -> tuple[dict[str, np.ndarray], int]:
    with jax.enable_x64(True):
        mcmc = MCMC(
            NUTS(model, dense_mass=dense, target_accept_prob=TARGET_ACCEPT),
            num_warmup=DRAWS,
            num_samples=DRAWS,
            num_chains=4,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.key(1), data, extra_fields=("diverging",))
        draws: dict[str, Any] = jax.device_get(mcmc.get_samples(group_by_chain=True))
        return {name: draws[name] for name in PARAMETERS}, int(np.sum(mcmc.get_extra_fields()["diverging"]))


def log_variances(data: RotatedData) -> None:
    """Sample the logarithms of both variances under the prior of ours, with its Jacobian."""
    v = jnp.asarray(univariate.prepare(data).v)
    log_u = jnp.asarray(numpyro.sample("log_u", dist.ImproperUniform(dist.constraints.real, (), (1,))))
    log_e = jnp.asarray(numpyro.sample("log_e", dist.ImproperUniform(dist.constraints.real, (), (1,))))
    # d(h2, sigma2_p) = d(log u, log e) u e / (u + e).
    numpyro.factor("jacobian", (log_u + log_e - jnp.logaddexp(log_u, log_e)).sum())
    _rest(data, jnp.exp(log_u), jnp.exp(log_e), v)


def variances(data: RotatedData) -> None:
    """Sample both variances as they are, under the prior of ours."""
    v = jnp.asarray(univariate.prepare(data).v)
    positive = dist.constraints.positive
    sigma2_u = jnp.asarray(numpyro.sample("u", dist.ImproperUniform(positive, (), (1,))))
    sigma2_e = jnp.asarray(numpyro.sample("e", dist.ImproperUniform(positive, (), (1,))))
    numpyro.factor("jacobian", -jnp.log(sigma2_u + sigma2_e).sum())  # d(h2, sigma2_p) = d(u, e) / (u + e)
    _rest(data, sigma2_u, sigma2_e, v)


def _rest(data: RotatedData, sigma2_u: jax.Array, sigma2_e: jax.Array, v: jax.Array) -> None:
    prior = univariate.Prior()
    sigma2_p = sigma2_u + sigma2_e
    numpyro.factor("prior", jnp.sum(in_units(prior.sigma2_p, v).log_prob(sigma2_p)))
    ready = univariate.prepare(data)
    b = numpyro.sample("b", in_units(prior.beta, jnp.sqrt(v)).expand([ready.data.X.shape[1], 1]).to_event(2))
    for name, value in {"h2": sigma2_u / sigma2_p, "sigma2_u": sigma2_u, "sigma2_e": sigma2_e}.items():
        numpyro.deterministic(name, value)
    mean = jnp.asarray(ready.data.X) @ b
    numpyro.sample("y", one_trait.univariate(data.s, mean[:, 0], sigma2_u[0], sigma2_e[0]), obs=data.Y[:, 0])


if __name__ == "__main__":
    main()
