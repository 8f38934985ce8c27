"""Estimators, one file each, and what is known about them: information, boundaries."""

import lazy_loader

# Modules that are public names of the package, such as `bayeslmm.boundary`.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["boundary", "information", "joint_information"])
