"""The posterior by quadrature and by NUTS, and the checks of draws."""

import lazy_loader

# Modules that are public names of the package, such as `bayeslmm.exact`.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["exact"])
