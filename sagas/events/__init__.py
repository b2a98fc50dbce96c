"""Events between participants: declaration, transactional outbox, inbox and handlers. Usable without any saga.

``<app>/events.py`` declares what an app publishes, ``<app>/handlers.py`` what it does about events, its own or others'.
Both are found as the admin finds ``<app>/admin.py``. Names that need models are imported on first use.
"""

import importlib
import typing

from .declaration import Personal, event
from .errors import ContractViolated, EventError, EventRefused, NotYet
from .handlers import Received, on
from .reactions import Cell, react

if typing.TYPE_CHECKING:
    from .outbox import publish

__all__ = [
    "Cell",
    "ContractViolated",
    "EventError",
    "EventRefused",
    "NotYet",
    "Personal",
    "Received",
    "event",
    "on",
    "publish",
    "react",
]

# Names that need the models, and their modules.
_LAZY = {"publish": "outbox"}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """Return all names, imported or not."""
    return sorted({*globals(), *_LAZY})
