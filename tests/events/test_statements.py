"""Statements of one event: one of the inbox, then those of its handler, however the driver binds parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.db.backends.postgresql.base import ServerBindingCursor

from sagas.events import catalogue, inbox
from sagas.events.cloudevents import read_message, to_message
from sagas.events.inbox import Arrival, Result

from . import world
from .world import Behaviour, Paid, Voided

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def alias() -> str:
    """Return the consumer's database."""
    return catalogue.database_of(world.CONSUMER)


@contextmanager
def statements_on(alias: str) -> Iterator[list[str]]:
    """List the statements of a connection."""
    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(" ".join(sql.split()))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        yield seen


def arrive(event: Any, alias: str) -> Arrival:
    """Return an event as a consumer hands it to the inbox."""
    world.send(event)
    read = read_message(to_message(world.outbox()[-1]), max_bytes=9_999)
    handler = catalogue.handlers_of(world.CONSUMER)[read.type]
    return Arrival(
        consumer=world.CONSUMER, alias=alias, event=read, loaded=handler.event.load(read.data, 1), handler=handler,
        topic="tests", position="1",
    )  # fmt: skip


def test_inbox_adds_one_statement_to_those_of_a_handler(flow: Behaviour, alias: str) -> None:
    flow.answers = False
    arrival = arrive(Paid(order_id="ORD-1"), alias)

    with statements_on(alias) as seen:
        assert inbox.handle(arrival) is Result.HANDLED

    own, effect = seen
    assert own.startswith("SELECT out_id, out_state, out_awaits FROM sagas_receive(")
    assert effect == "INSERT INTO events_effect (key, what) VALUES (%s, %s)"


@pytest.mark.parametrize("prepare_threshold", [None, 0], ids=["bound", "prepared"])
def test_events_are_handled_with_parameters_bound_by_the_server(
    prepare_threshold: int | None, flow: Behaviour, alias: str
) -> None:
    flow.fails["ORD-2"] = ValueError("no")
    first, failing = arrive(Paid(order_id="ORD-1"), alias), arrive(Paid(order_id="ORD-2"), alias)
    held, undoing = arrive(Paid(order_id="ORD-2"), alias), arrive(Voided(order_id="ORD-2"), alias)
    connection = connections[alias]
    connection.ensure_connection()
    connection.connection.cursor_factory = ServerBindingCursor
    connection.connection.prepare_threshold = prepare_threshold
    try:
        results = [inbox.handle(one) for one in (first, first, failing, held, undoing)]
    finally:
        connection.close()

    assert results == [Result.HANDLED, Result.DUPLICATE, Result.FAILED, Result.HELD, Result.HANDLED]
    assert [(row.key, row.state) for row in world.inbox()] == [
        ("ORD-1", "handled"), ("ORD-2", "retrying"), ("ORD-2", "held"), ("ORD-2", "handled"),
    ]  # fmt: skip
