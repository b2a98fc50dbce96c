"""Benchmarks, in small: they measure what they say, and leave no table behind."""

from collections.abc import Iterator

import pytest
from django.db import connection, connections

from benchmarks import checkouts, events
from sagas.events import relay
from sagas.models import InboxEvent, Saga

from .valkey_driver import ValkeyDriver

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("whole_catalogue"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run a server for the benchmarks."""
    driver = ValkeyDriver(None)
    yield driver.url
    driver.stop()


def test_consumer_and_bare_loop_handle_the_same_messages(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LATENCIES", 2)
    relay_all = relay.relay_all
    # The thread that sends after commits keeps its connection, and the test's database is dropped.
    monkeypatch.setattr(relay, "relay_all", lambda alias: (relay_all(alias), connections.close_all()))

    found = events.measure(url, count=5, rounds=2)

    relay.close_transport()
    assert found.bare > 0
    assert found.handled > 0
    assert found.latency > 0
    assert InboxEvent.objects.filter(consumer=events.NAME, state="handled").count() == 2 * 5 + 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('benchmarks_effect'), to_regclass('benchmarks_inbox')")
        assert cursor.fetchone() == (None, None)


def test_both_styles_of_the_checkout_are_completed_and_counted(url: str) -> None:
    found = checkouts.measure(url, count=2, rounds=1)

    assert set(Saga.objects.values_list("coordination", "state")) == {
        ("orchestration", "completed"), ("choreography", "completed"),
    }  # fmt: skip
    assert found.choreographed.commits > found.orchestrated.commits > 10
    assert found.orchestrated.process > 0
    assert found.choreographed.process > 0
