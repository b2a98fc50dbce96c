"""Connection state changed by a step: reset after the step, so the engine's transactions still commit."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from psycopg.rows import dict_row

from sagas.core.states import Outcome
from sagas.engine import advance, claim
from sagas.models import SagaAttempt
from sagas.monitoring import checks
from sagas.testing import drain, outcomes_of
from sagas.testing.drain import read

from .world import COMPENSATION, ENGINE, World, define, states

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def run(sql: str, using: str = ENGINE) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture(autouse=True)
def _other_schema() -> Iterator[None]:
    """Create a table of effects in another schema, too."""
    run("CREATE SCHEMA other; CREATE TABLE other.engine_test_ledger (LIKE public.engine_test_ledger INCLUDING ALL)")
    yield
    connections[ENGINE].close()
    run("DROP SCHEMA IF EXISTS other CASCADE")


def leave_block_open() -> None:
    transaction.atomic(using=ENGINE).__enter__()


def begin_manually() -> None:
    run("BEGIN")


def raw_connection() -> Any:
    connections[ENGINE].ensure_connection()
    return connections[ENGINE].connection


def disable_driver_autocommit() -> None:
    raw_connection().autocommit = False
    run("SELECT 1")


def reconnect_with_other_schema() -> None:
    connections[ENGINE].close()
    run("SET search_path = other, public")


CHANGES = {
    "autocommit off": lambda: transaction.set_autocommit(False, using=ENGINE),
    "autocommit off, and something written": lambda: (
        transaction.set_autocommit(False, using=ENGINE),
        run("CREATE TABLE never_there ()"),
    ),
    "a block that is never left": leave_block_open,
    "two blocks that are never left": lambda: (leave_block_open(), leave_block_open()),
    "BEGIN": begin_manually,
    "BEGIN that failed": lambda: run("BEGIN") or run_failing(),
    "autocommit of the driver off": disable_driver_autocommit,
    "search path": lambda: run("SET search_path = other, public"),
    "search path without the engine's tables": lambda: run("SET search_path = other"),
    "role": lambda: run("SET ROLE pg_monitor"),
    "isolation level of the session": lambda: run("SET default_transaction_isolation = serializable"),
    "read only": lambda: run("SET default_transaction_read_only = on"),
    "commits that do not last": lambda: run("SET synchronous_commit = off"),
    "triggers off": lambda: run("SET session_replication_role = replica"),
    "time zone": lambda: run("SET TIME ZONE 'Asia/Tokyo'"),
    "closed": connections[ENGINE].close,
    "closed behind Django's back": lambda: raw_connection().close(),
    "exchanged": reconnect_with_other_schema,
    "rows as dicts": lambda: setattr(raw_connection(), "row_factory", dict_row),
    "the driver's isolation level": lambda: setattr(raw_connection(), "isolation_level", 4),
    "the driver's read only": lambda: setattr(raw_connection(), "read_only", True),
    "a wrapper of every statement": lambda: connections[ENGINE].execute_wrappers.append(refuse_statements),
    "a temporary table before the sagas": lambda: run("CREATE TEMP TABLE sagas_saga (LIKE public.sagas_saga)"),
    "a temporary table before the steps": lambda: run("CREATE TEMP TABLE sagas_sagastep (LIKE public.sagas_sagastep)"),
    "a temporary table before the effects": lambda: run(
        "CREATE TEMP TABLE engine_test_ledger (LIKE public.engine_test_ledger INCLUDING ALL)"
    ),
}  # fmt: skip


def refuse_statements(*_: Any) -> None:
    raise RuntimeError("nothing is let through")


def run_failing() -> None:
    try:
        run("SELECT nothing")
    except Exception:  # noqa: BLE001 - what stays behind is the point
        return


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_connection_changed_by_an_external_step_is_reset(
    world: World, change: str, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = world.begin(one=world.compensatable(external=True), two=world.compensatable(external=True),
                       three=world.compensatable(), four=world.compensatable(external=True))  # fmt: skip
    committed: list[int] = []

    def alter(step: Any, proceed: Any) -> None:
        proceed()
        CHANGES[change]()
        if fails:
            raise TimeoutError("no answer")

    def count_open_attempts(step: Any, proceed: Any) -> None:
        other = connections.create_connection(ENGINE)
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sagas_sagaattempt WHERE saga_id = %s AND outcome IS NULL", [saga.pk])
            committed.append(cursor.fetchone()[0])
        other.close()
        proceed()

    world.will("two", alter)
    world.will("four", count_open_attempts)
    assert drain(saga).state == "completed"
    connections[ENGINE].close()
    assert (read(saga.pk).state, set(states(saga).values())) == ("completed", {"succeeded"})
    assert committed == [1]  # the claim made before the call
    assert [world.count(saga, step) for step in ("one", "two", "three", "four")] == [1, 1, 1, 1]
    expected = [Outcome.UNKNOWN, Outcome.SUCCEEDED] if fails else [Outcome.SUCCEEDED]
    assert outcomes_of(saga.pk, "two") == expected


SESSION = [
    name
    for name in CHANGES
    if "search" in name
    or "temporary" in name
    or "wrapper" in name
    or name in ("role", "read only", "triggers off", "rows as dicts")
]


@pytest.mark.parametrize("change", SESSION)
def test_next_saga_in_the_same_process_is_unaffected(world: World, change: str) -> None:
    first, second = (
        world.begin(a=world.compensatable(), b=world.compensatable(external=True)),
        world.begin("second", a=world.compensatable(), b=world.compensatable()),
    )
    world.will("b", lambda step, proceed: proceed() or CHANGES[change]())
    with connections[ENGINE].cursor() as cursor:
        cursor.execute("SHOW search_path")
        before = cursor.fetchone()[0]
    connections.settings[ENGINE]["CONN_MAX_AGE"], kept = 60, connections.settings[ENGINE]["CONN_MAX_AGE"]
    try:
        advance.advance(first.pk)
        advance.advance(second.pk)
    finally:
        connections.settings[ENGINE]["CONN_MAX_AGE"] = kept
    assert (read(first.pk).state, read(second.pk).state) == ("completed", "completed")
    assert [world.count(second, step) for step in ("a", "b")] == [1, 1]
    with connections[ENGINE].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM other.engine_test_ledger")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SHOW search_path")
        assert cursor.fetchone()[0] == before


@pytest.mark.parametrize("change", SESSION)
@pytest.mark.parametrize("participant", [None, "inventory"])
def test_session_settings_of_a_local_step_end_with_it(
    world: World, inventory_alias: str, change: str, participant: str | None
) -> None:
    if change == "search path without the engine's tables" and participant is None:
        return
    saga = world.begin(a=world.compensatable(participant), b=world.compensatable(participant))
    sql = {"search path": "SET search_path = other, public", "role": "SET ROLE pg_monitor"}.get(change, "SELECT 1")
    using = inventory_alias if participant else ENGINE
    world.will("a", lambda step, proceed: proceed() or run(sql, using))
    assert drain(saga).state == "completed"
    assert [world.count(saga, step, participant=participant) for step in ("a", "b")] == [1, 1]


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_local_step_that_leaves_a_transaction_open_is_rolled_back_and_recorded(
    world: World, inventory_alias: str, participant: str | None
) -> None:
    using = inventory_alias if participant else ENGINE
    saga = world.begin(a=world.compensatable(participant), b=world.compensatable())
    world.will("a", lambda step, proceed: proceed() or transaction.atomic(using=using).__enter__())
    assert drain(saga).state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.RETRY, Outcome.SUCCEEDED]
    assert world.count(saga, "a", participant=participant) == 1
    first = SagaAttempt.objects.filter(saga_id=saga.pk, step__name="a").order_by("number")[0]
    assert first.error_class == "sagas.transactions.ConnectionAltered"
    assert "A transaction was left open" in first.message


@pytest.mark.parametrize("change", ["autocommit off", "a block that is never left", "search path"])
def test_connection_changed_by_a_compensation_is_reset(world: World, change: str) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable(external=True),
                       c=world.compensatable(external=True))  # fmt: skip
    from .world import Refused

    world.will("c", Refused("no"))
    world.will("b", lambda step, proceed: proceed() or CHANGES[change](), direction=COMPENSATION)
    assert drain(saga).state == "compensated"
    connections[ENGINE].close()
    assert read(saga.pk).state == "compensated"
    assert [world.count(saga, step, "undone") for step in ("a", "b")] == [1, 1]


def test_connection_changed_between_two_sagas_is_reset(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    transaction.set_autocommit(False, using=ENGINE)
    advance.advance(saga.pk)
    connections[ENGINE].close()
    assert read(saga.pk).state == "completed"


def test_connection_that_cannot_be_reset_is_an_error_before_any_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    with monkeypatch.context() as patched:
        patched.setitem(connections.settings[ENGINE], "AUTOCOMMIT", False)
        connections[ENGINE].close()
        with pytest.raises(ImproperlyConfigured, match=r"DATABASES\['default'\]\['AUTOCOMMIT'\] is False"):
            advance.advance(saga.pk)
        [found] = checks.check_databases()
        assert (found.id, "'default'" in found.msg) == ("sagas.E018", True)
        connections[ENGINE].close()
    assert (world.calls, checks.check_databases()) == ([], [])
    assert drain(saga).state == "completed"


def test_saga_started_in_a_manual_transaction_is_part_of_it(world: World) -> None:
    trip = define(a=world.compensatable(), b=world.compensatable())
    transaction.set_autocommit(False, using=ENGINE)
    try:
        lost = advance.start(trip)
        transaction.rollback(using=ENGINE)
        kept = advance.start(trip)
        transaction.commit(using=ENGINE)
    finally:
        transaction.set_autocommit(True, using=ENGINE)
    connections[ENGINE].close()
    assert drain(kept).state == "completed"
    assert advance.advance(lost.pk) == 0


def test_session_is_checked_before_each_transaction_without_extra_statements(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    seen: list[str] = []
    claim_next = claim.claim_next
    monkeypatch.setattr(
        claim, "claim_next", lambda *args, **options: seen.append("claim") or claim_next(*args, **options)
    )
    with connections[ENGINE].execute_wrapper(lambda execute, sql, *rest: seen.append(sql) or execute(sql, *rest)):
        advance.advance(saga.pk)
    looks = [sql for sql in seen if "session_replication_role" in sql]
    assert len(looks) == 3  # the claim, and each local step
    assert not [sql for sql in seen if sql.startswith("SHOW")]


def return_dicts(using: str) -> None:
    connections[using].ensure_connection()
    connections[using].connection.row_factory = dict_row


@pytest.mark.parametrize(
    "alter",
    [
        lambda using: run("SET search_path = other, public", using),
        lambda using: run("CREATE TEMP TABLE engine_test_ledger (LIKE public.engine_test_ledger INCLUDING ALL)", using),
        return_dicts,
    ],
    ids=["search path", "temporary table", "rows as dicts"],
)
def test_connection_that_a_step_opens_to_another_database_is_reset(
    world: World, inventory_alias: str, alter: Any
) -> None:
    run("CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.engine_test_ledger"
        " (LIKE public.engine_test_ledger INCLUDING ALL)", inventory_alias)  # fmt: skip
    connections[inventory_alias].close()
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable("inventory"))
    world.will("a", lambda step, proceed: proceed() or alter(inventory_alias))
    settings = connections.settings[inventory_alias]
    settings["CONN_MAX_AGE"], kept = 60, settings["CONN_MAX_AGE"]
    try:
        advance.advance(saga.pk)
    finally:
        settings["CONN_MAX_AGE"] = kept
        connections[inventory_alias].close()
        run("DROP SCHEMA other CASCADE", inventory_alias)
    assert read(saga.pk).state == "completed"
    assert world.count(saga, "b", participant="inventory") == 1
