"""Intents: external calls of event handlers, executed by the engine as the only step of a saga of their own.

A handler runs in the consumer's loop and in a transaction, so it makes no external call: it writes an intent, and a
worker performs it. Retries, budgets, leases and outcomes are the engine's; the events that tell the result are
published in the transaction that records it.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .declaration import Ended, Intent

__all__ = ["Ended", "Intent"]

# Names that need the models, and their modules.
_LAZY = {"Ended": "declaration", "Intent": "declaration"}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
