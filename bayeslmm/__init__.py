"""Bayesian linear mixed models for genetics: heritability with honest uncertainty.

The public names are listed in ``__init__.pyi`` and loaded when they are first used, so that importing the package
does not wait for JAX.
"""

import copyreg
import importlib
import sys
from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bayeslmm")
    return _public(name)


# Functions that name the package must reach the workers of Dask and joblib: lazy_loader makes it a module of a class of
# its own, which pickle does not know.
copyreg.pickle(type(sys.modules[__name__]), lambda module: (importlib.import_module, (module.__name__,)))
