"""Statements of the console about events of a saga and of all participants: an index serves each table that grows."""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction

from sagas.choreography import deliveries
from sagas.conf import get_settings
from sagas.events import catalogue
from sagas.operators.queries import event_debts

from . import stories

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]
SMALL = {"sagas_eventconsumer"}


def explain(alias: str, execute: Any, sql: str, params: Any, many: bool, context: Any, *, plans: list[str]) -> Any:
    """Note the plan of a statement under the engine's own parameters, then run it."""
    with connections[alias].cursor() as cursor:
        execute(f"EXPLAIN {sql}", params, many, {**context, "cursor": cursor})
        plans.append("\n".join(row[0] for row in context["cursor"].fetchall()))
    return execute(sql, params, many, context)


@pytest.mark.parametrize("alias", catalogue.event_databases())
def test_no_statement_reads_a_whole_table_that_grows(alias: str) -> None:
    saga, plans = stories.make_completed(), list[str]()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # With so few rows the planner prefers to read a table; without that choice it shows whether an index serves.
        cursor.execute("SET LOCAL enable_seqscan = off")
        with connections[alias].execute_wrapper(partial(explain, alias, plans=plans)):
            deliveries.read_deliveries(alias, saga, ["OrderCreated"], ["payments"], with_data=True)
            event_debts._read(datetime.now(UTC), alias)

    assert len(plans) == 2
    assert {table for plan in plans for table in re.findall(r"Seq Scan on (\w+)", plan)} <= SMALL
    used = {name for plan in plans for name in re.findall(r"Index Scan (?:using|on) (\w+)", plan)}
    assert {"saga_outbox_correlation", "saga_inbox_correlation", "saga_inbox_trouble", "saga_outbox_due"} <= used
    assert {"saga_owed_due", "saga_attention"} <= used or alias != get_settings().database
