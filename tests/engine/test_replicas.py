"""Read replicas, which may be late or empty: the engine never reads from them, whatever the routers say."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.shortcuts import get_object_or_404
from django.test import override_settings

from sagas import OutcomeUnknown, clock
from sagas.admin.ui.groups import GROUPS, ensure_groups
from sagas.engine import advance
from sagas.models import Saga, SagaBarrier, SagaStep
from sagas.monitoring import checks
from sagas.monitoring.metrics import SagaCollector
from sagas.operators import operations
from sagas.operators.actor import Actor, find_account
from sagas.operators.audit import verification
from sagas.operators.audit.operator_log import LogQuery, read_log
from sagas.operators.bulk import freezing, runner
from sagas.operators.queries import statistics
from sagas.operators.queries.failures import read_failures
from sagas.operators.queries.listing import find_saga, list_sagas
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.participants import routing
from sagas.retention import purge
from sagas.retention.purge import Scope
from sagas.testing import assert_invariants, pass_time
from sagas.testing.drain import look, read
from sagas.worker import sweeper
from tests.commands.cases import run_command
from tests.replicas import (
    EMPTY,
    READ_ONLY,
    REPLICA,
    EngineFromReplica,
    PrimaryReplica,
    opened_replica,
    reading_from_replica,
)

from .bulks import COMMITS, REASON, freeze_and_start, holds_of, make, operations_of, results_of, run_to_end
from .world import ENGINE, OPERATOR, World, states

pytestmark = COMMITS
KINDS = {"late": (PrimaryReplica, READ_ONLY), "empty": (EngineFromReplica, EMPTY)}


@pytest.fixture(scope="module", params=KINDS)  # must run before pytest-django reads which databases exist
def router(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[type]:
    """Configure a replica, and return the router that reads from it."""
    kind, options = KINDS[request.param]
    with opened_replica(options):
        yield kind


@pytest.fixture
def queried(router: type, world: World) -> Iterator[list[str]]:
    """Read from the replica, and fail if any query concerns the engine."""
    with reading_from_replica(router) as found:
        yield found
    assert found == []


def test_query_to_the_replica_would_be_noticed(router: type, world: World) -> None:
    with reading_from_replica(router) as found, pytest.raises(AssertionError, match="A replica was asked"):
        Saga.objects.using(REPLICA).exists()

    assert len(found) == 1


def test_bulk_runs_without_the_replica(queried: list[str], world: World) -> None:
    sagas = make(world, 5)

    started = freeze_and_start(sagas)
    runner.advance(started.pk)
    found = run_to_end(started.pk)

    assert (found.state, results_of(found.pk)) == ("finished", ["done"] * 5)
    assert holds_of(sagas) == ["paused"] * 5
    assert [operations_of(saga) for saga in sagas] == [[("pause", "boss", str(found.pk))]] * 5
    assert freezing.read_progress(found).counts["done"] == 5


def test_failure_in_a_bulk_is_counted(queried: list[str], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("broken")

    started = freeze_and_start(make(world, 1))
    monkeypatch.setattr(runner, "perform_operation", fail)

    found = run_to_end(started.pk)

    assert (found.state, results_of(found.pk)) == ("finished", ["failed"])


def test_saga_runs_is_operated_swept_and_deleted(queried: list[str], world: World) -> None:
    world.will("b", OutcomeUnknown("no answer"))
    saga = world.begin(a=world.compensatable(), b=world.compensatable(external=True), p=world.pivot())

    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    look(saga.pk)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert sweeper.wake_due() == 1
    advance.advance(saga.pk)
    pass_time(timedelta(minutes=5))
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert sweeper.run_due() == 1
    sweeper.beat(queues=["sagas"], found=0)

    assert (read(saga.pk).state, states(saga)) == ("completed", dict.fromkeys(("a", "b", "p"), "succeeded"))
    assert_invariants(saga.pk)
    assert len(read_log(LogQuery(), with_bulks=True).operations) == 3
    found = purge.clean_up(Scope(closed_before=clock.read_now(ENGINE) + timedelta(days=1)))
    assert (found.sagas, found.is_whole, found.unreachable) == (1, True, [])
    sweeper.leave()


def test_counts_and_lookups_use_the_engines_database(queried: list[str], world: World) -> None:
    world.will("a", ValueError("broken"))
    saga = world.begin(a=world.compensatable(), p=world.pivot())
    look(saga.pk)

    statistics.count_stale(list(statistics.PACES))
    assert list(SagaCollector().collect())
    assert [found.id for found in list_sagas(SagaFilter(search="T-1"))] == [saga.pk]
    assert find_saga("T-1", by_key=True) == find_saga(str(saga.pk)[:8]) == saga.pk
    [group] = read_failures(timedelta(hours=1)).groups
    for narrowed in ({"failing": group.key}, {"group": group.key}, {"step": "a"}, {"needs": "any"}, {"search": "T-1"}):
        list(SagaFilter(**narrowed).select())
    assert SagaFilter(failing=group.key).select().get().pk == saga.pk
    assert verification.verify_all(signed_since=verification.read_signed_since()).is_sound


def test_commands_use_the_engines_database(queried: list[str], world: World, tmp_path: Path) -> None:
    sagas = make(world, 2)
    waiting = freeze_and_start(sagas)
    kept = tmp_path / "kept.ndjson.gz"
    calls: list[tuple[object, ...]] = [
        ("saga_list",), ("saga_list", "--attention"), ("saga_show", sagas[0].pk), ("saga_export", "--format", "ndjson"),
        ("saga_pause", sagas[0].pk, "--reason", REASON, "--dry-run"), ("saga_pause", sagas[0].pk, "--reason", REASON),
        ("saga_bulk", "resume", "--display", "held", "--reason", REASON), ("saga_bulk_show",),
        ("saga_bulk_show", waiting.pk), ("saga_bulk_stop", waiting.pk), ("saga_sweep", "--run"), ("saga_sweep",),
        ("saga_verify_log",), ("saga_check_versions",), ("saga_cleanup", "--older-than", "1d", "--dry-run"),
        ("saga_cleanup", "--older-than", "1d", "--archive", kept),
    ]  # fmt: skip

    ended = {call: run_command(*call) for call in calls}

    assert {call: done.err for call, done in ended.items() if done.code} == {}
    assert "A replica was asked" not in run_command("saga_doctor").out
    assert [read(saga.pk).state for saga in sagas] == ["completed"] * 2


def test_query_without_an_alias_uses_the_engines_database(queried: list[str], world: World) -> None:
    """Check project code, too, which reads its saga right after the start."""
    [saga] = make(world, 1)
    step = saga.steps.get(name="a")
    found = get_object_or_404(Saga, pk=saga.pk)
    found.refresh_from_db()

    assert [found._state.db, step._state.db, step.saga._state.db] == [ENGINE] * 3
    assert SagaStep.objects.get(pk=step.pk).saga == saga
    assert [Saga.objects.db, Saga.objects.all().db, Saga.objects.using(None).db] == [ENGINE] * 3
    assert [Saga._default_manager.db, Saga._base_manager.db, saga.history.db] == [ENGINE] * 3
    assert Saga.objects.using(REPLICA).db == Saga.objects.db_manager(REPLICA).all().db == REPLICA
    assert Saga.objects.filter(keys__value="T-1", steps__name="a").count() == 1
    assert [row.saga.pk for row in SagaStep.objects.prefetch_related("saga").filter(name="a")] == [saga.pk]
    assert len(Saga.objects.prefetch_related("steps", "keys").get().steps.all()) == 2


def test_engines_database_is_that_of_the_settings() -> None:
    with override_settings(SAGAS={"DATABASE": "elsewhere"}):
        assert [Saga.objects.db, Saga.objects.all().db, SagaStep._base_manager.db] == ["elsewhere"] * 3
    assert SagaBarrier.objects.db == ENGINE


def test_read_replica_is_no_finding_of_the_checks(queried: list[str]) -> None:
    assert [*checks.check_databases(), *checks.check_routing()] == []


def test_replica_holds_no_barrier(queried: list[str]) -> None:
    assert REPLICA not in routing.barrier_databases()
    assert routing.barrier_databases()[0] == ENGINE


def test_groups_are_created_in_the_migrated_database(queried: list[str]) -> None:
    Group.objects.using(ENGINE).all().delete()

    ensure_groups(ENGINE)

    links = Group.permissions.through.objects.using(ENGINE)
    assert {name: links.filter(group__name=name).count() for name in GROUPS} == {
        name: len(codenames) for name, codenames in GROUPS.items()
    }


def test_account_missing_on_the_replica_is_found(queried: list[str]) -> None:
    user = User.objects.create_superuser("ada")

    assert find_account("pk", str(user.pk))._state.db == ENGINE
    assert Actor.of_command_line("ada").user == user
