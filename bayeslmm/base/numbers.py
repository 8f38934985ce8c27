"""Numbers as text: with the digits that say something, whatever their unit."""

import numpy as np

_MOST_DECIMALS, _LARGEST = 9, 1e9
"""Beyond these, numbers are written with an exponent."""


def decimals_of(spread: float, figures: int = 3) -> int:
    """Return with how many decimals a spread above 0 has so many figures; negative for tens, hundreds and so on."""
    return int(figures - 1 - np.floor(np.log10(spread)))


def fixed(value: float, decimals: int, *, largest: float = 0.0) -> str:
    """Write a number to a decimal place: with an exponent where that is far behind the point, or numbers are huge.

    Args:
        value: may be infinite or NaN.
        decimals: of the place.
        largest: magnitude of the numbers that it stands beside, which are written alike.
    """
    plain = decimals <= _MOST_DECIMALS and max(largest, abs(value)) < _LARGEST
    if plain or not np.isfinite(value):
        return f"{value:.{max(decimals, 0)}f}"
    digits = int(np.clip(np.floor(np.log10(abs(value))) + decimals, 0, _MOST_DECIMALS)) if value else 0
    return f"{value:.{digits}e}" if value else "0"


def significant(value: float, figures: int = 4) -> str:
    """Write a number with so many figures, or more before the point."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if 10 ** (figures - 1) <= abs(value) < _LARGEST else f"{value:#.{figures}g}"
