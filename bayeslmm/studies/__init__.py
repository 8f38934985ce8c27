"""Simulated data with known truth, and what they say about intervals and samplers."""

import lazy_loader

# Modules that are public names of the package, such as `bayeslmm.simulate`.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["simulate"])
