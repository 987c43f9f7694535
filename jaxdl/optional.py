"""Imports of the packages that only experiments need."""

from importlib import import_module
from types import ModuleType


def import_optional(module: str, purpose: str) -> ModuleType:
    """The module of that name, imported now rather than with jaxdl.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs {module}, which cannot be imported ({error}): "
            'run pip install -e ".[experiments]" in the clone of jaxdl'
        ) from error
