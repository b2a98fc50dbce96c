"""Metrics and doctor: what waits, who consumes, and databases that do not answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sagas import clock
from sagas.events import catalogue, publish
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer
from sagas.monitoring import doctor, event_metrics
from sagas.monitoring.metrics import SagaCollector

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def scrape(name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric by the values of their labels."""
    registry = CollectorRegistry()
    registry.register(SagaCollector())
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples if sample.name == f"sagas_events_{name}"]
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def examine() -> dict[str, list[str]]:
    """Return the doctor's lines about events by their name."""
    found: dict[str, list[str]] = {}
    for finding in doctor.EXAMINATIONS["events"]():
        found.setdefault(finding.name, []).append(f"{finding.level.value}: {finding.what}")
    return found


def beat(lag: int) -> None:
    alias = catalogue.database_of(world.CONSUMER)
    now = clock.read_now(alias)
    EventConsumer.objects.using(alias).create(
        consumer=world.CONSUMER, name="host:1", transport="memory", started_at=now, seen_at=now, lag=lag, lag_at=now
    )


def fill(flow: Behaviour) -> None:
    """Have one event handled, one dead with one held behind it, one not yet, and one unsent."""
    flow.fails["ORD-2"] = ValueError("no shelf")
    flow.needs.add("ORD-3")
    flow.answers = False
    world.send(*(Paid(order_id=f"ORD-{number}") for number in (1, 2, 2, 3)))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    with transaction.atomic(using=catalogue.database_of(world.SENDER)):
        publish(Paid(order_id="ORD-4"))
    beat(7)


def test_metrics_count_what_waits(flow: Behaviour) -> None:
    fill(flow)
    clock.move(timedelta(seconds=10))
    assert scrape("unsent")[("payments",)] == 1
    assert 10 <= scrape("oldest_unsent_age_seconds")[("payments",)] < 60
    assert scrape("relayed_recently")[("payments",)] == 4
    assert scrape("handled_recently")[("inventory",)] == 1
    waiting = {labels[1]: count for labels, count in scrape("waiting").items() if labels[0] == "inventory"}
    assert waiting == {"retrying": 0, "not_yet": 1, "held": 1, "dead": 1, "parked": 0}
    assert scrape("oldest_waiting_age_seconds")["inventory", "dead"] >= 10
    assert scrape("lag")[("inventory",)] == 7
    assert scrape("consumers")[("inventory",)] == 1
    assert (scrape("outbox_parked")[("payments",)], scrape("missing")[("payments",)]) == (0, 0)
    assert set(scrape("database_up").values()) == {1}


def test_labels_are_bounded_by_the_catalogue(flow: Behaviour) -> None:
    fill(flow)
    labels = {value for name in ("unsent", "waiting", "lag") for key in scrape(name) for value in key[:1]}
    assert labels <= {*catalogue.list_consumers(), *catalogue.list_local_senders()}


def test_database_that_does_not_answer_is_a_metric_of_its_own(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Any:
        raise OperationalError("no route to host")

    monkeypatch.setattr(event_metrics, "read_overview", fail)
    assert set(scrape("database_up").values()) == {0}
    assert scrape("unsent") == {}
    monkeypatch.setattr(doctor, "read_overview", fail)
    assert {"fail: not read: no route to host"} <= {line for lines in examine().values() for line in lines}


def test_nothing_is_read_while_events_are_off(flow: Behaviour, settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    assert scrape("database_up") == {}
    assert examine() == {}


def test_doctor_names_what_is_missing_and_what_waits(flow: Behaviour) -> None:
    fill(flow)
    found = examine()
    assert "ok: 1 unsent" in found["events payments"]
    assert found["events inventory"] == ["warn: 1 events are dead, because their handler failed too often."]


def test_doctor_is_content_with_a_running_consumer(flow: Behaviour) -> None:
    assert "fail: Topic tests does not exist." in examine()["event broker"]
    assert "warn: No consumer was seen at all." in examine()["events inventory"]
    beat(0)
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    EventConsumer.objects.using(catalogue.database_of(world.CONSUMER)).update(lag=0)
    assert "ok: 1 consumers seen, lag 0" in examine()["events inventory"]


def test_doctor_says_that_the_broker_is_away(flow: Behaviour, broker: Broker) -> None:
    broker.is_away = True
    assert examine()["event broker"] == ["warn: The broker of this process was told to be away."]
