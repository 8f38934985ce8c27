"""The methods for several components of variance, a file each: its name is that of the method."""

import pkgutil

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
