"""Bayesian linear mixed models for genetics: heritability with honest uncertainty.

The public names are listed in ``__init__.pyi`` and loaded when they are first used, so that importing the package
does not wait for JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
