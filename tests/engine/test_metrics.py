import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test import override_settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sagas import clock
from sagas.models import Saga, SagaAttempt, SagaBulk, SagaBulkItem, SagaStep, SagaWorker
from sagas.monitoring import metrics
from sagas.monitoring.metrics import BUCKETS, SagaCollector
from sagas.operators import presentation
from sagas.operators.bulk import runner
from sagas.operators.presentation import DisplayState
from sagas.worker import sweeper
from tests.commands.cases import (
    WHY,
    compensated_trip,
    completed_trip,
    failing_trip,
    run_command,
    start_trip,
    trips,
    unknown_trip,
)

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def _trips() -> Iterator[None]:
    with trips():
        yield


def scrape() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample that Prometheus would scrape, by name and labels."""
    registry = CollectorRegistry()
    registry.register(SagaCollector())
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def value(name: str, **labels: str) -> float | None:
    return scrape().get((name, tuple(sorted(labels.items()))))


def values(name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name by the values of some labels."""
    return {
        tuple(dict(found)[label] for label in labels): number
        for (known, found), number in scrape().items()
        if known == name
    }


def test_open_sagas_by_definition_and_display_state() -> None:
    start_trip("A")
    start_trip("B")
    unknown_trip("C")
    failing_trip("D")
    completed_trip("E")

    assert values("sagas_open", "definition", "state") == {
        ("trip", "pending"): 2,
        ("trip", "held"): 1,
        ("trip", "compensation_failing"): 1,
    }


def test_every_exported_state_is_a_display_state() -> None:
    unknown_trip("A")
    completed_trip("B")

    shown = {
        state for name in ("sagas_open", "sagas_closed_recently") for _, state in values(name, "definition", "state")
    }

    assert shown == {"held", "completed"}
    assert shown <= {state.value for state in DisplayState}


def test_only_sagas_closed_within_the_window_count() -> None:
    completed_trip("A")
    compensated_trip("B")
    before, after = completed_trip("C"), completed_trip("D")
    now = clock.read_now("default")
    Saga.objects.filter(pk=before.pk).update(closed_at=now - metrics.WINDOW - timedelta(seconds=5))
    Saga.objects.filter(pk=after.pk).update(closed_at=now - metrics.WINDOW + timedelta(seconds=5))

    assert values("sagas_closed_recently", "definition", "state") == {
        ("trip", "completed"): 2,
        ("trip", "compensated"): 1,
    }


def test_attempts_by_outcome() -> None:
    compensated_trip("A")
    unknown_trip("B")

    assert values("sagas_attempts_recently", "step", "direction", "outcome") == {
        ("book_flight", "action", "succeeded"): 2,
        ("book_flight", "compensation", "succeeded"): 1,
        ("book_hotel", "action", "refused"): 1,
        ("book_hotel", "action", "succeeded"): 1,
        ("book_car", "action", "succeeded"): 1,
        ("pay", "action", "unknown"): 1,
    }


def test_mark_of_an_operator_is_no_attempt() -> None:
    saga = unknown_trip()
    mark = ("--step", "pay", "--as", "refused", "--evidence", "not in the provider's list")
    assert run_command("saga_resolve", saga.pk, *mark, *WHY).code == 0

    assert (
        value("sagas_attempts_recently", definition="trip", step="pay", direction="action", outcome="refused") is None
    )


def test_step_durations() -> None:
    saga = completed_trip()
    attempt = SagaAttempt.objects.get(saga=saga, step__name="pay")
    for index, seconds in enumerate((0.005, 0.0051, 3, 100)):
        attempt.pk, attempt.number, attempt.lease_token = None, index + 2, Saga().pk
        attempt.ended_at = attempt.started_at + timedelta(seconds=seconds)
        attempt.save()
    SagaAttempt.objects.filter(saga=saga, step__name="pay", number=1).delete()

    def bucket(limit: str) -> float | None:
        return value("sagas_step_duration_seconds_bucket", definition="trip", step="pay", direction="action", le=limit)

    place = {"definition": "trip", "step": "pay", "direction": "action"}
    assert [bucket(limit) for limit in ("0.005", "0.01", "2.5", "5", "60", "+Inf")] == [1, 2, 2, 3, 3, 4]
    assert value("sagas_step_duration_seconds_gcount", **place) == 4
    assert value("sagas_step_duration_seconds_gsum", **place) == pytest.approx(103.0101)
    SagaAttempt.objects.filter(saga=saga, step__name="pay", number__gt=2).delete()
    SagaAttempt.objects.filter(saga=saga, step__name="pay").update(number=1)


def test_histogram_bounds_rise() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_only_the_newest_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        completed_trip(str(number))
    monkeypatch.setattr(metrics, "MAX_ROWS", 2)

    assert sum(values("sagas_attempts_recently", "step", "direction", "outcome").values()) == 2
    assert sum(values("sagas_closed_recently", "definition", "state").values()) == 2


def test_attention_by_reason_counts_each_saga_once() -> None:
    unknown_trip("A")
    failing_trip("B")
    paused = unknown_trip("C")
    run_command("saga_pause", paused.pk, *WHY)
    gone = unknown_trip("D")
    run_command("saga_abandon", gone.pk, *WHY)

    found = values("sagas_attention", "reason")

    assert found == {
        **{(reason,): 0 for reason in presentation.REASONS},
        ("outcome_unknown",): 2,
        ("compensation_failing",): 1,
        ("paused",): 1,
    }


def test_two_held_steps_of_a_saga_are_one_saga() -> None:
    saga = start_trip()
    SagaStep.objects.filter(saga=saga, name__in=["book_hotel", "book_car"]).update(hold="misconfigured")

    assert value("sagas_attention", reason="misconfigured") == 1
    SagaStep.objects.filter(saga=saga).update(hold=None)


def test_how_long_the_oldest_due_saga_waits() -> None:
    assert value("sagas_oldest_due_age_seconds") == 0
    saga = start_trip()
    Saga.objects.filter(pk=saga.pk).update(due_at=clock.read_now("default") - timedelta(seconds=100))

    assert value("sagas_oldest_due_age_seconds") == pytest.approx(100, abs=30)


def test_sweepers() -> None:
    assert value("sagas_workers") == 0
    assert value("sagas_last_sweep_age_seconds") is None
    sweeper.beat(queues=[], found=0)
    assert value("sagas_workers") == 0
    sweeper.beat(queues=["sagas"], found=0)
    assert value("sagas_workers") == 1
    SagaWorker.objects.update(last_sweep_at=clock.read_now("default") - timedelta(seconds=100))

    assert value("sagas_workers") == 0
    assert value("sagas_last_sweep_age_seconds") == pytest.approx(100, abs=30)


def test_bulks() -> None:
    names = ("sagas_bulks_running", "sagas_bulk_sagas_left", "sagas_oldest_due_bulk_age_seconds")
    sagas = [start_trip(name) for name in "ABC"]
    assert [value(name) for name in names] == [0, 0, 0]
    started = run_command("saga_bulk", "pause", *(f"--id={saga.pk}" for saga in sagas), *WHY, "--json").json
    SagaBulk.objects.update(due_at=clock.read_now("default") - timedelta(seconds=100))

    running, left, age = (value(name) for name in names)
    assert (running, left) == (1, 3)
    assert age == pytest.approx(100, abs=30)

    SagaBulkItem.objects.filter(position=1).update(result="done")
    assert value("sagas_bulk_sagas_left") == 2
    runner.advance(UUID(started["id"]))
    assert [value(name) for name in names] == [0, 0, 0]


def test_failing_database_exports_only_up_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_named: object) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(metrics, "refresh_connection", fail)

    assert scrape() == {("sagas_up", ()): 0.0}


def test_slow_database_exports_up_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "STATEMENT_TIMEOUT", "20ms")
    monkeypatch.setattr(metrics, "COUNT_REASONS", "SELECT pg_sleep(5)::text, 1")

    assert scrape() == {("sagas_up", ()): 0.0}
    # The next scrape is not affected.
    monkeypatch.undo()
    assert scrape()["sagas_up", ()] == 1.0


def test_unreadable_settings_export_up_0() -> None:
    with override_settings(SAGAS={"TIME_OUT": 1}):
        assert scrape() == {("sagas_up", ()): 0.0}


def test_scrape_cost_does_not_grow_with_the_number_of_sagas(django_assert_num_queries: Any) -> None:
    collector = SagaCollector()
    start_trip("0")
    with django_assert_num_queries(13):
        list(collector.collect())
    for number in range(1, 6):
        unknown_trip(str(number))
    with django_assert_num_queries(13):
        list(collector.collect())


def test_statement_timeout_is_restored() -> None:
    list(SagaCollector().collect())

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("30s",)


def test_registering_sends_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        CollectorRegistry(auto_describe=True).register(SagaCollector())
    described = {family.name for family in SagaCollector().describe()}
    start_trip()
    sweeper.beat(queues=[], found=0)

    assert {family.name for family in SagaCollector().collect()} == described


def test_engine_works_without_prometheus() -> None:
    """Import what a worker and a command import, in a Python without prometheus_client."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None; sys.modules['prometheus_client.core'] = None\n"
        "import django; from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'sagas'])\n"
        "django.setup()\n"
        "import sagas.tasks, sagas.operators.operations, sagas.retention.purge, sagas.monitoring.doctor\n"
        "import sagas.management.sweeping, sagas.operators.presentation.graph\n"
        "print('works')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
