"""Execution of sagas: start one, advance one as far as it goes now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .advance import start as start

__all__ = ["start"]


def __getattr__(name: str) -> Any:
    """Import what works on rows when it is first used: models exist only after Django's set-up."""
    if name in __all__:
        from . import advance

        return getattr(advance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
