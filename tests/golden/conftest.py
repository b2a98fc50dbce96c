"""Play in the world of the engine tests."""

from __future__ import annotations

from tests.engine.conftest import _invariants, _own_definitions, ledgers, world

__all__ = ["_invariants", "_own_definitions", "ledgers", "world"]
