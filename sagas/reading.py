"""A saga as an operator's operation would find it, on a copy."""

from __future__ import annotations

from . import moves
from .draft import SagaDraft
from .snapshot import SagaSnapshot


def look_ahead(snapshot: SagaSnapshot) -> SagaSnapshot:
    """Return the saga as an operation would find it: attempts whose lease has ended are given up, on a copy."""
    if not any(row.lease_until is not None and row.lease_until <= snapshot.now for row in snapshot.steps):
        return snapshot
    ahead = SagaDraft.of(snapshot)
    moves.expire_leases(ahead)
    return ahead
