"""Libraries that only some users need, imported when they are asked for."""

from importlib import import_module
from typing import Any

from bayeslmm.base.checks import InputError


def optional(library: str, *, extra: str, what: str) -> Any:
    """Import a library of an extra of this package.

    Args:
        library: the module to import.
        extra: which extra installs it.
        what: what needs it, for the message.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return import_module(library)
    except ImportError:
        raise InputError(f"{what} needs {library}: pip install 'bayeslmm[{extra}]'") from None
