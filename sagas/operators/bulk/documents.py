"""Bulks as JSON, for the operators' API and the commands."""

from typing import Any

from ...conf import get_settings
from ...models import SagaBulk, SagaBulkItem
from . import freezing


def describe_bulk(found: SagaBulk) -> dict[str, Any]:
    """Return a bulk with its progress."""
    return {**describe_listed_bulk(found), "counts": dict(freezing.read_progress(found).counts)}


def describe_listed_bulk(found: SagaBulk) -> dict[str, Any]:
    """Return one bulk of a list, without its progress, which would need a query for each."""
    return {
        "id": str(found.pk),
        "operation": found.operation,
        "state": found.state,
        "actor": found.actor,
        "reason": found.reason,
        "words": found.words,
        "filter": found.filter,
        "total": found.total,
        "frozen_at": found.frozen_at.isoformat(),
        "started_at": found.started_at.isoformat() if found.started_at else None,
        "ended_at": found.ended_at.isoformat() if found.ended_at else None,
        "stopped_by": found.stopped_by,
        "confirm_until": (found.frozen_at + get_settings().bulk_confirm_within).isoformat(),
    }


def describe_item(item: SagaBulkItem) -> dict[str, Any]:
    """Return one saga of a bulk with its result."""
    return {
        "position": item.position,
        "saga_id": str(item.saga_id),
        "revision": item.revision,
        "result": item.result,
        "message": item.message,
        "ended_at": item.ended_at.isoformat() if item.ended_at else None,
    }
