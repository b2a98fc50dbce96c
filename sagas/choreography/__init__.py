"""Choreography: sagas that nobody commands. Participants react to events; the tracker records who owes which next.

``<app>/choreography.py`` declares one in the app that decides about it, and is found as the admin finds
``<app>/admin.py``.
"""

import importlib
import typing

from .definition import ChoreographyDefinition, Expected

if typing.TYPE_CHECKING:
    from .starting import start

__all__ = ["ChoreographyDefinition", "Expected", "start"]

# Names that need the models, and their modules.
_LAZY = {"start": "starting"}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
