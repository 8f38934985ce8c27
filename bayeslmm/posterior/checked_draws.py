"""Draws with their checks, drawn again where transitions diverged."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xarray import DataTree

from bayeslmm.base.defaults import TARGET_ACCEPT, WARMUP
from bayeslmm.posterior.diagnostics import Diagnostics, diagnose
from bayeslmm.posterior.sampling import Program, sample
from bayeslmm.posterior.tree import Data

_MOST_AGAIN = 2
_NEARER = 5  # times nearer to 1 is the acceptance rate of the next draws: 0.9, 0.98, 0.996


def checked_draws(
    program: Program | Callable[..., None],
    data: Data,
    *,
    warmup: int = WARMUP,
    target_accept: float = TARGET_ACCEPT,
    **settings: Any,
) -> tuple[DataTree, Diagnostics]:
    """Draw from a posterior as `sample` does, and again with shorter steps if transitions diverged.

    Up to twice: the acceptance rate is five times nearer to 1 each time, and the warm-up twice as long, which
    removes divergences where the posterior is sound. Chains that disagree, and too few draws, are no reason to draw
    again: chains that agree by chance the second time would hide a mode. The starts are the same each time.

    Args:
        program: as in `sample`.
        data: as in `sample`.
        warmup: adaptation steps of each chain.
        target_accept: acceptance rate of the first draws.
        **settings: of `sample`.

    Returns:
        The last draws, with ``drawn_again`` among their attributes if they are not the first; and their checks.
    """
    tree = sample(program, data, warmup=warmup, target_accept=target_accept, **settings)
    checks, reasons = diagnose(tree), list[str]()
    while checks.divergences and len(reasons) < _MOST_AGAIN:
        total = tree["sample_stats"].dataset["diverging"].size
        reasons.append(
            f"{checks.divergences} of {total} transitions diverged at an acceptance rate of {target_accept:g}"
        )
        target_accept, warmup = 1 - (1 - target_accept) / _NEARER, 2 * warmup
        tree = sample(program, data, warmup=warmup, target_accept=target_accept, **settings)
        checks = diagnose(tree)
    if reasons:
        words = f"{', then '.join(reasons)}: drawn again at {target_accept:g} with {warmup} steps of warm-up"
        tree.attrs["drawn_again"] = words
        checks = replace(checks, drawn_again=words)
    return tree, checks
