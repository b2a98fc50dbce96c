"""Orders and their sagas as plain data: the form in which the API answers and stores its answers.

What an order looks like to its customer is read from the saga, because the saga is the truth about what is going
on; the order's own status takes over once retention has deleted the saga.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sagas.core.states import Attention, SagaState
from sagas.models import SagaStep
from sagas.operators.actor import Actor

from .models import Order, OrderLine, OrderStatus
from .reasons import Reason, explain

STEP_FIELDS = (
    "saga_id",
    "saga__state",
    "saga__hold",
    "saga__attention",
    "saga__cause",
    "name",
    "state",
    "hold",
    "action_attempts",
    "compensation_attempts",
    "started_at",
    "finished_at",
)
NEEDS_OPERATOR = frozenset(
    {
        Attention.RETRIES_EXHAUSTED.value,
        Attention.COMPENSATION_FAILING.value,
        Attention.LATE_EFFECT.value,
        Attention.EVENT_UNEXPECTED.value,
        Attention.EVENT_FAILING.value,
        Attention.INTENT_FAILING.value,
    }
)
StepRow = Mapping[str, Any]


class DisplayStatus(StrEnum):
    """Where an order stands, in the customer's words."""

    PROCESSING = "processing"  #: the saga works on it
    CONFIRMED = "confirmed"  #: paid, and the goods are on their way
    CANCELLED = "cancelled"  #: over, and every effect is removed
    NEEDS_REVIEW = "needs_review"  #: an operator must act


def summarize(orders: Iterable[Order]) -> list[dict[str, Any]]:
    """Show orders as JSON-able data.

    Shape: ``{number, status, reason, lines: [{sku, name, quantity, unit_price, total}], total: money, currency,
    coordination, saga: {id, state, steps: [{name, state, attempts, started_at, finished_at}]} | None, created_at}``;
    money is ``{amount_minor, currency}``, times are ISO 8601 in UTC.
    Tx: none needed: each saga and its steps are read in one statement.
    """
    listed = list(orders)
    steps = _read_steps([order.saga_id for order in listed])
    return [_show_order(order, list(order.lines.all()), steps[order.saga_id]) for order in listed]


def summarize_new(order: Order, lines: Sequence[OrderLine]) -> dict[str, Any]:
    """Show an order whose lines are at hand; the same form as ``summarize``."""
    return _show_order(order, lines, _read_steps([order.saga_id])[order.saga_id])


def _read_steps(saga_ids: Iterable[UUID]) -> defaultdict[UUID, list[StepRow]]:
    found: defaultdict[UUID, list[StepRow]] = defaultdict(list)
    rows = SagaStep.objects.filter(saga_id__in=list(saga_ids)).order_by("saga_id", "position").values(*STEP_FIELDS)
    for row in rows:
        found[row["saga_id"]].append(row)
    return found


def _show_order(order: Order, lines: Sequence[OrderLine], steps: Sequence[StepRow]) -> dict[str, Any]:
    status = _judge_by_saga(steps) if steps else _judge_by_order(order)
    return {
        "number": order.number,
        "status": status.value,
        "reason": _find_reason(order, steps, status),
        "lines": [_show_line(line, order.currency) for line in lines],
        "total": _show_money(order.total_minor, order.currency),
        "currency": order.currency,
        "coordination": order.coordination,
        "saga": _show_saga(steps) if steps else None,
        "created_at": _show_time(order.created_at),
    }


def _judge_by_saga(steps: Sequence[StepRow]) -> DisplayStatus:
    saga = steps[0]
    state = SagaState(saga["saga__state"])
    if state is SagaState.COMPLETED:
        return DisplayStatus.CONFIRMED
    if state is SagaState.COMPENSATED:
        return DisplayStatus.CANCELLED
    is_held = saga["saga__hold"] or any(step["hold"] for step in steps)
    if state is SagaState.ABANDONED or is_held or NEEDS_OPERATOR.intersection(saga["saga__attention"]):
        return DisplayStatus.NEEDS_REVIEW
    return DisplayStatus.PROCESSING


def _judge_by_order(order: Order) -> DisplayStatus:
    return {
        OrderStatus.CONFIRMED.value: DisplayStatus.CONFIRMED,
        OrderStatus.CANCELLED.value: DisplayStatus.CANCELLED,
    }.get(order.status, DisplayStatus.NEEDS_REVIEW)


def _find_reason(order: Order, steps: Sequence[StepRow], status: DisplayStatus) -> str | None:
    """Return why the order is not simply going well, or None when it is."""
    if status is DisplayStatus.CONFIRMED:
        return None
    if order.reason:
        return order.reason
    cause = steps[0]["saga__cause"] if steps else None
    if cause:
        return explain(cause, owner=Actor.of_owner(order.owner).name).value
    return Reason.UNDER_REVIEW.value if status is DisplayStatus.NEEDS_REVIEW else None


def _show_line(line: OrderLine, currency: str) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": _show_money(line.unit_price_minor, currency),
        "total": _show_money(line.total_minor, currency),
    }


def _show_money(amount_minor: int, currency: str) -> dict[str, Any]:
    return {"amount_minor": amount_minor, "currency": currency}


def _show_saga(steps: Sequence[StepRow]) -> dict[str, Any]:
    return {
        "id": str(steps[0]["saga_id"]),
        "state": steps[0]["saga__state"],
        "steps": [
            {
                "name": step["name"],
                "state": step["state"],
                "attempts": step["action_attempts"] + step["compensation_attempts"],
                "started_at": _show_time(step["started_at"]),
                "finished_at": _show_time(step["finished_at"]),
            }
            for step in steps
        ],
    }


def _show_time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
