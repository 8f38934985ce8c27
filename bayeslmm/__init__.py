"""Bayesian linear mixed models for genetics: heritability with honest uncertainty.

The public names are listed in ``__init__.pyi`` and loaded when they are first used, so that importing the package
does not wait for JAX.
"""

import copyreg
import importlib
import sys

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Functions that name the package must reach the workers of Dask and joblib: lazy_loader makes it a module of a class of
# its own, which pickle does not know.
copyreg.pickle(type(sys.modules[__name__]), lambda module: (importlib.import_module, (module.__name__,)))
