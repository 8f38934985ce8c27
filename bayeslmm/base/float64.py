"""float64 inside inference, whatever the process-wide setting of JAX."""

import functools
from collections.abc import Callable

import jax


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with 64-bit JAX arrays, without flipping the process-wide switch."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped
