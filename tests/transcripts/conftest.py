"""Play in the world of the engine tests."""

from tests.engine.conftest import _invariants, _own_definitions, ledgers, world

__all__ = ["_invariants", "_own_definitions", "ledgers", "world"]
