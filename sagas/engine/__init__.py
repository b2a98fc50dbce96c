"""Execution of sagas: start one, and advance one as far as it can go now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .advance import start as start

__all__ = ["start"]


def __getattr__(name: str) -> Any:
    """Import ``advance`` on first use, because models exist only after Django's set-up."""
    if name in __all__:
        from . import advance

        return getattr(advance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
