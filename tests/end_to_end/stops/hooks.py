"""Hooks between the engine and step functions that stop a worker."""

import os
import signal
import time
from typing import Any
from uuid import UUID

from orders.models import Order
from sagas.core.definition.options import StepFunction
from sagas.core.outcomes import Report
from sagas.engine import execute
from sagas.engine.execute import ClaimedStep
from sagas.worker import lifecycle

from .points import Marks, Moment, StopPoint

# Longer than any test waits; if a test fails, the stopped worker ends with its guard.
LONGEST_STOP_SECONDS = 180.0
LOOK_SECONDS = 0.02

# Where the saga of each attempt must stop, read once: a test may stop the database meanwhile.
_points: dict[UUID, StopPoint | None] = {}


def install(marks: Marks) -> None:
    """Stop before and after step functions, and after the commit of a participant's own database."""
    execute_unstopped = execute.execute_step

    def intercept(claimed: ClaimedStep, function: StepFunction) -> StepFunction:
        def run(context: Any) -> dict[str, Any] | None:
            stop_at(marks, claimed, Moment.BEFORE)
            try:
                stop_at(marks, claimed, Moment.LATE_DEATH)
                result = function(context)
            finally:
                die_late(marks, claimed)
            stop_at(marks, claimed, Moment.AFTER)
            stop_at(marks, claimed, Moment.DEATH)
            return result

        return run

    def execute_and_stop(claimed: ClaimedStep) -> Report:
        report = execute_unstopped(claimed)
        stop_at(marks, claimed, Moment.COMMITTED)
        return report

    execute.intercept = intercept
    execute.execute_step = execute_and_stop


def stop_at(marks: Marks, claimed: ClaimedStep, moment: Moment) -> None:
    """Stop once, or die every time, if the order of this saga says so."""
    order_number = getattr(claimed.context.input, "order_number", "")
    here = StopPoint(step=claimed.step.name, direction=claimed.direction.value, moment=moment)
    if not order_number or find_point(claimed.token, order_number) != here:
        return
    if moment is Moment.DEATH:
        os.kill(os.getpid(), signal.SIGKILL)
    if marks.put(order_number):
        wait_for_permission(marks, order_number)


def die_late(marks: Marks, claimed: ClaimedStep) -> None:
    """Die, if this process was released from a stop and must die afterwards."""
    order_number = getattr(claimed.context.input, "order_number", "")
    point = find_point(claimed.token, order_number) if order_number else None
    here = StopPoint(step=claimed.step.name, direction=claimed.direction.value, moment=Moment.LATE_DEATH)
    if point == here and marks.find_stopped(order_number) == os.getpid():
        os.kill(os.getpid(), signal.SIGKILL)


def find_point(token: UUID, order_number: str) -> StopPoint | None:
    """Return where the saga of an attempt must stop."""
    if token not in _points:
        _points[token] = read_point(order_number)
    return _points[token]


def read_point(order_number: str) -> StopPoint | None:
    """Read from an order where its saga must stop."""
    return StopPoint.parse(Order.objects.values_list("ship_to_line2", flat=True).get(number=order_number))


def wait_for_permission(marks: Marks, order_number: str) -> None:
    """Wait until the test releases this worker."""
    give_up_at = time.monotonic() + LONGEST_STOP_SECONDS
    while time.monotonic() < give_up_at:
        permission = marks.read_permission(order_number)
        if permission == "now" or (permission and lifecycle.is_shutting_down()):
            return
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"Nobody let the worker of order {order_number} go on.")
