"""Query plans with 100,000 events: no page about events scans an outbox or an inbox, whatever is asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.db import connections

from sagas.conf import get_settings
from sagas.events import dead_count, dead_letters, delivery, details, listing, operation_log
from sagas.events.listing import STATES, EventFilter
from tests.events import world
from tests.events.conftest import event_settings, url
from tests.scale.plans import watch_plans

__all__ = ["event_settings", "url"]

EVENTS = 100_000
TABLES = frozenset({"sagas_outboxevent", "sagas_inboxevent", "sagas_inboxkey", "sagas_eventoperation"})
MOST_PAGES = 3_000  # of 8 kB; a table has more than 5,000
# One event in a thousand is dead, and as many are unsent.
FILL = """
    INSERT INTO sagas_outboxevent (event_id, participant, type, version, source, sequence, key, correlation_id,
        causation_id, traceparent, topic, data, recorded_at, state, due_at, attempts, error, sent_at, resends)
    SELECT md5(n::text)::uuid, 'payments', CASE n %% 50 WHEN 0 THEN 'TestVoided' ELSE 'TestPaid' END, 1,
        '/shop/payments/ORD-' || n, 1, 'ORD-' || n, 'flow-' || n, '', '', 'tests', '{"orderId": "ORD-1"}',
        now() - n * interval '1 second', CASE n %% 1000 WHEN 7 THEN 'unsent' ELSE 'sent' END,
        CASE n %% 1000 WHEN 7 THEN now() END, 0, '', CASE WHEN n %% 1000 <> 7 THEN now() END, 0
    FROM generate_series(%(events)s, 1, -1) AS n;
    INSERT INTO sagas_inboxevent (consumer, source, event_id, type, version, key, sequence, correlation_id,
        causation_id, traceparent, topic, position, data, raw, digest, recorded_at, received_at, state, attempts,
        duplicates, error_class, error, traceback, handled_at)
    SELECT 'inventory', source, event_id::text, type, 1, key, '1', correlation_id, '', '', 'tests', '', data, '', '',
        recorded_at, recorded_at, CASE id %% 1000 WHEN 5 THEN 'dead' ELSE 'handled' END, 0, 0, '', '', '',
        CASE WHEN id %% 1000 <> 5 THEN now() END
    FROM sagas_outboxevent ORDER BY id;
    INSERT INTO sagas_inboxkey (consumer, key, head_id, awaits, used_at)
    SELECT consumer, key, CASE state WHEN 'dead' THEN id END, false, now() FROM sagas_inboxevent;
    INSERT INTO sagas_eventoperation (at, actor, operation, reason, consumer, source, event_id, type, key, state_before,
        result)
    SELECT now(), 'ada', 'retry', 'because', consumer, source, event_id, type, key, 'dead', '' FROM sagas_inboxevent;
"""
ANALYZE = "ANALYZE sagas_outboxevent, sagas_inboxevent, sagas_inboxkey, sagas_eventoperation"


def list_requests(event_id: str) -> Mapping[str, Callable[[], Any]]:
    """Return what the pages ask."""
    alias = get_settings().database
    filters = [
        EventFilter(), EventFilter(key="ORD-70000"), EventFilter(correlation_id="flow-70000"),
        EventFilter(event_id=event_id), EventFilter(type="TestPaid"), EventFilter(type="TestVoided"),
        EventFilter(type="None"), EventFilter(participant="payments"), EventFilter(participant="inventory"),
        *(EventFilter(state=state) for state in STATES),
        *(EventFilter(state=state, participant="inventory") for state in STATES),
        *(EventFilter(state=state, type="TestVoided") for state in STATES),
    ]  # fmt: skip
    return {
        **{str(wanted): lambda wanted=wanted: listing.list_events(wanted) for wanted in filters},  # type: ignore[misc]
        "older": lambda: listing.list_events(EventFilter(), place="0.50000.50000"),
        "details": lambda: details.read_details(event_id),
        "behind": lambda: details.count_behind(world.CONSUMER, "ORD-70000"),
        "dead letters": dead_letters.read_dead_letters,
        "number of dead letters": lambda: dead_count._count(alias),
        "delivery": delivery.read_delivery,
        "operator log": operation_log.read_event_operations,
    }


@pytest.mark.django_db(databases="__all__")
def test_no_page_about_events_scans_a_big_table(event_settings: Any) -> None:
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in FILL.split(";\n"):
            if statement.strip():
                cursor.execute(statement, {"events": EVENTS})
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute(ANALYZE)
        cursor.execute("SELECT event_id::text FROM sagas_outboxevent WHERE key = 'ORD-70000'")
        [event_id] = cursor.fetchone()

    found, pages = {}, {}
    for name, ask in list_requests(event_id).items():
        with watch_plans(TABLES) as plans:
            ask()
        assert plans.asked > 0, name
        pages[name] = plans.pages
        if plans.found:
            found[name] = plans.found

    assert found == {}
    assert {name: count for name, count in pages.items() if count > MOST_PAGES} == {}
