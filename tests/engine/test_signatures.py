"""Signatures of operations: every change made in the database is detected."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sagas import Compensatable, Pivot, nothing_to_undo
from sagas.engine import advance
from sagas.engine.store.signatures import describe_entry
from sagas.models import Saga, SagaHistory
from sagas.models.saga import read_started_at
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.audit import verification
from sagas.operators.audit.verification import Finding, Flaw
from sagas.operators.notes import add_note
from sagas.retention.purge import DELETE_ORDER
from tests.table_owner import as_table_owner

from .world import begin, define

pytestmark = pytest.mark.django_db(databases="__all__")

ADA, BOB = Actor(name="ada", is_trusted=True), Actor(name="böb \u2603", is_trusted=True)
REASON = 'Because "the test" says so: \u00e4\u2603 \\ \n{}'


@pytest.fixture(autouse=True)
def _delete_forged_rows(db: None) -> Iterator[None]:
    """Delete the rows that a test forged, so that the invariant check does not see them."""
    yield
    ids = list(Saga.objects.values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('sagas.retention', 'on', true)")
        for statement in DELETE_ORDER:
            cursor.execute(statement, [ids])
        cursor.execute("SELECT set_config('sagas.retention', 'off', true)")


def do_nothing(step: Any) -> None:
    """Do nothing, as a step without cost."""


def make_operated_saga(times: int = 2) -> Saga:
    """Return a saga that two operators paused and resumed, and a worker then advanced."""
    saga = begin(define(s0=Compensatable(do_nothing, nothing_to_undo), pay=Pivot(do_nothing)))
    for _ in range(times):
        operations.pause(saga.pk, actor=ADA, reason=REASON)
        operations.resume(saga.pk, actor=BOB, reason=REASON)
    advance.advance(saga.pk)
    return Saga.objects.get(pk=saga.pk)


def make_unoperated_saga() -> Saga:
    """Return a saga that was started without an actor."""
    return begin(define(s0=Compensatable(do_nothing, nothing_to_undo)))


def verify(saga: Saga, *, signed_since: datetime | None = None) -> Finding | None:
    found = verification.verify([saga.pk], signed_since=signed_since)
    assert found.sagas == 1
    return found.findings[0] if found.findings else None


def flaw_of(saga: Saga) -> tuple[str, int] | None:
    return flaw_since(saga, None)


def flaw_since(saga: Saga, signed_since: datetime | None) -> tuple[str, int] | None:
    found = verify(saga, signed_since=signed_since)
    return (found.flaw.value, found.number) if found else None


def remove_signatures(saga: Saga, **values: Any) -> None:
    """Remove every signature of a saga, as the owner of the tables can."""
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET signature = '' WHERE saga_id = %s", [saga.pk])
    Saga.objects.filter(pk=saga.pk).update(signature="", signature_count=0, **values)


def list_logged(saga: Saga) -> list[SagaHistory]:
    return list(SagaHistory.objects.filter(saga=saga, what="operator_acted").order_by("number"))


def test_unchanged_history_matches_its_signatures() -> None:
    saga = make_operated_saga()

    found = verification.verify([saga.pk], signed_since=saga.created_at)

    signed = SagaHistory.objects.filter(saga=saga).exclude(number__gt=1, actor=None)
    assert (found.is_sound, found.entries, saga.signature_count) == (True, signed.count(), signed.count())
    assert found.entries == 9
    unnamed = SagaHistory.objects.filter(saga=saga, actor=None)
    assert set(unnamed.exclude(number=1).values_list("signature", flat=True)) == {""}


def test_unoperated_saga_has_only_the_signature_of_its_start() -> None:
    saga = make_unoperated_saga()
    advance.advance(saga.pk)

    stored = Saga.objects.get(pk=saga.pk)

    assert list(SagaHistory.objects.filter(saga=saga).exclude(signature="").values_list("number", "actor")) == [
        (1, None)
    ]
    assert (stored.signature_count, stored.operated_at, stored.signature == "") == (1, None, False)
    assert verify(saga, signed_since=saga.created_at) is None


def test_time_of_the_last_operation_is_stored() -> None:
    saga = make_operated_saga()

    assert saga.operated_at == list_logged(saga)[-1].at


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'eve'", "reason = reason || '!'", "at = at - interval '1 microsecond'", "to_state = 'resume'",
        "what = 'saga_running'", "step = 's0'", "from_state = 'x'", "data = data || '{\"revision\": 99}'",
        "data = data - 'before'", "signature = overlay(signature placing 'AAAA' from 20)", "actor = NULL",
    ],
)  # fmt: skip
def test_changed_entry_is_reported(change: str) -> None:
    saga = make_operated_saga()
    entry = list_logged(saga)[0]
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET " + change + " WHERE id = %s", [entry.pk])  # noqa: S608

    assert flaw_of(saga) == (Flaw.CHANGED.value, entry.number)


@pytest.mark.parametrize("change", ["actor = 'eve'", "reason = 'All is well.'", "at = at + interval '1 second'"])
def test_changed_note_is_reported(change: str) -> None:
    saga = make_operated_saga()
    note = add_note(saga.pk, actor=ADA, text=REASON)
    assert flaw_of(saga) is None
    with as_table_owner() as cursor:
        cursor.execute(
            "UPDATE sagas_sagahistory SET " + change + " WHERE saga_id = %s AND number = %s",  # noqa: S608
            [saga.pk, note.number],
        )

    assert flaw_of(saga) == (Flaw.CHANGED.value, note.number)
    window = {"since": saga.created_at, "until": note.at, "limit": 10, "signed_since": None}
    assert [finding.number for finding in verification.verify_operated(**window).findings] == [note.number]


def test_deleted_entry_is_reported_as_a_gap() -> None:
    saga = make_operated_saga()
    entry = list_logged(saga)[1]
    with as_table_owner() as cursor:
        cursor.execute("DELETE FROM sagas_sagahistory WHERE id = %s", [entry.pk])

    assert flaw_of(saga) == (Flaw.MISSING.value, entry.number)


def test_deleted_entry_of_the_engine_is_reported_too() -> None:
    saga = make_operated_saga()
    with as_table_owner() as cursor:
        cursor.execute("DELETE FROM sagas_sagahistory WHERE saga_id = %s AND what = 'step_claimed'", [saga.pk])

    found = verify(saga)

    assert found is not None
    assert found.flaw is Flaw.MISSING


def test_renumbering_over_a_gap_is_detected() -> None:
    saga = make_operated_saga()
    gone = list_logged(saga)[0]
    with as_table_owner() as cursor:
        cursor.execute("DELETE FROM sagas_sagahistory WHERE id = %s", [gone.pk])
        for number in range(gone.number + 1, saga.history_count + 1):
            cursor.execute(
                "UPDATE sagas_sagahistory SET number = number - 1 WHERE saga_id = %s AND number = %s", [saga.pk, number]
            )
        cursor.execute("UPDATE sagas_saga SET history_count = history_count - 1 WHERE id = %s", [saga.pk])

    assert flaw_of(saga) == (Flaw.CHANGED.value, gone.number)


def cut_off(saga: Saga, from_number: int, **values: Any) -> None:
    with as_table_owner() as cursor:
        cursor.execute("DELETE FROM sagas_sagahistory WHERE saga_id = %s AND number >= %s", [saga.pk, from_number])
    Saga.objects.filter(pk=saga.pk).update(history_count=from_number - 1, **values)


def test_deleted_tail_is_detected_despite_an_adjusted_count() -> None:
    saga = make_operated_saga()
    last = list_logged(saga)[-1]
    cut_off(saga, last.number - 1)

    found = verify(saga)

    assert found is not None
    assert found.flaw is Flaw.CUT


def test_deleted_tail_is_detected_despite_a_copied_signature() -> None:
    saga = make_operated_saga()
    kept = list_logged(saga)[-2]
    signed = SagaHistory.objects.filter(saga=saga, number__lte=kept.number).exclude(signature="").count()
    cut_off(saga, kept.number + 1, signature_count=signed, signature=kept.signature)

    assert flaw_of(saga) == (Flaw.CUT.value, kept.number + 1)


def test_forged_operation_is_detected() -> None:
    saga = make_operated_saga()
    with as_table_owner() as cursor:
        cursor.execute(
            "INSERT INTO sagas_sagahistory (saga_id, number, at, what, step, from_state, to_state, actor, reason, data)"
            " SELECT saga_id, %s, at, what, step, from_state, to_state, 'eve', reason, data FROM sagas_sagahistory"
            " WHERE id = %s",
            [saga.history_count + 1, list_logged(saga)[0].pk],
        )
        cursor.execute("UPDATE sagas_saga SET history_count = history_count + 1 WHERE id = %s", [saga.pk])

    assert flaw_of(saga) == (Flaw.UNSIGNED.value, saga.history_count + 1)


def test_entry_moved_to_another_saga_is_detected() -> None:
    one, other = make_operated_saga(1), make_operated_saga(1)
    mine, theirs = list_logged(one)[0], list_logged(other)[0]
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET signature = %s WHERE id = %s", [theirs.signature, mine.pk])

    assert flaw_of(one) == (Flaw.CHANGED.value, mine.number)
    assert flaw_of(other) is None


def test_removing_every_signature_is_detected_since_signing_began() -> None:
    saga = make_operated_saga()
    remove_signatures(saga)

    assert verify(saga) is None
    assert flaw_since(saga, saga.created_at) == (Flaw.CUT.value, 1)
    assert verify(saga, signed_since=datetime.now(UTC) + timedelta(hours=1)) is None
    assert flaw_since(saga, verification.read_signed_since()) == (Flaw.CUT.value, 1)


def test_removing_every_signature_and_actor_is_detected() -> None:
    saga = make_operated_saga()
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET actor = NULL, what = 'held' WHERE actor IS NOT NULL")
    remove_signatures(saga, operated_at=None)

    assert not SagaHistory.objects.filter(saga=saga, actor__isnull=False).exists()
    assert flaw_since(saga, verification.read_signed_since()) == (Flaw.CUT.value, 1)


@pytest.mark.parametrize("kept", ["number = 1", "actor IS NULL", "number < 0"])
def test_deleting_operations_and_renumbering_is_detected(kept: str) -> None:
    saga = make_operated_saga()
    with as_table_owner() as cursor:
        cursor.execute(f"DELETE FROM sagas_sagahistory WHERE saga_id = %s AND NOT ({kept})", [saga.pk])  # noqa: S608
        rows = list(SagaHistory.objects.filter(saga=saga).order_by("number"))
        for number, row in enumerate(rows, start=1):
            cursor.execute("UPDATE sagas_sagahistory SET number = %s WHERE id = %s", [number, row.pk])
    remove_signatures(saga, operated_at=None, history_count=len(rows))

    assert flaw_since(saga, verification.read_signed_since()) == (Flaw.CUT.value, 1)


def test_removing_the_signature_of_an_unoperated_saga_is_detected() -> None:
    saga = make_unoperated_saga()
    remove_signatures(saga)

    assert flaw_since(saga, saga.created_at) == (Flaw.CUT.value, 1)


def test_operation_after_removed_signatures_hides_nothing() -> None:
    saga = make_unoperated_saga()
    operations.pause(saga.pk, actor=ADA, reason=REASON)
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET actor = NULL, what = 'held' WHERE actor IS NOT NULL")
    remove_signatures(saga)
    operations.resume(saga.pk, actor=BOB, reason=REASON)

    assert Saga.objects.get(pk=saga.pk).signature != ""
    assert verify(saga, signed_since=datetime.now(UTC) + timedelta(hours=1)) is None
    assert flaw_since(saga, saga.created_at) == (Flaw.UNSIGNED.value, 1)


def test_unsigned_saga_with_a_forged_date_is_detected_by_its_id() -> None:
    signed_since = datetime.now(UTC) - timedelta(days=2)
    saga = make_operated_saga()
    with as_table_owner() as cursor:
        cursor.execute(
            "UPDATE sagas_sagahistory SET actor = NULL, what = 'held', at = at - interval '1 year'"
            " WHERE saga_id = %s", [saga.pk],
        )  # fmt: skip
    remove_signatures(saga, operated_at=None, created_at=saga.created_at - timedelta(days=365))

    assert flaw_since(saga, signed_since) == (Flaw.CUT.value, 1)


@pytest.mark.parametrize("number", [0, 1 << 127, (1 << 128) - 1, (1 << 128) - 1 - (8 << 76)])
def test_id_without_a_timestamp_counts_as_old(number: int) -> None:
    assert read_started_at(UUID(int=number)) == datetime(1970, 1, 1, tzinfo=UTC)


def test_saga_from_before_signing_may_be_operated() -> None:
    saga = make_unoperated_saga()
    remove_signatures(saga)
    signed_since = datetime.now(UTC)
    operations.pause(saga.pk, actor=ADA, reason=REASON)

    assert flaw_since(saga, signed_since) is None

    remove_signatures(saga)
    operation = list_logged(saga)[0]
    assert flaw_since(saga, signed_since) == (Flaw.UNSIGNED.value, 2)
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET actor = NULL WHERE saga_id = %s", [saga.pk])
    assert flaw_since(saga, signed_since) == (Flaw.UNSIGNED.value, operation.number)


def test_recent_sagas_are_read_without_the_older_ones() -> None:
    sagas = [make_operated_saga(1) for _ in range(3)]
    with CaptureQueriesContext(connection) as asked:
        found = verification.verify_all(signed_since=None, started_since=sagas[1].created_at)
    pages = [query["sql"] for query in asked if "LIMIT" in query["sql"]]
    with connection.cursor() as cursor:
        for way in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {way} = off")
        plans = []
        for page in pages:
            cursor.execute(f"EXPLAIN {page}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    assert (found.sagas, len(plans)) == (2, 2)
    for plan in plans:
        assert "using saga_newest" in plan
        assert "Index Cond: (created_at >= " in plan
        assert "Sort" not in plan


def test_keys_are_rotated_and_retired() -> None:
    with override_settings(SAGAS={"SIGNING_KEYS": ["old"]}):
        saga = make_operated_saga(1)
    with override_settings(SAGAS={"SIGNING_KEYS": ["new", "old"]}):
        operations_before = list_logged(saga)
        advance.advance(saga.pk)
        other = make_operated_saga(1)
        assert (flaw_of(saga), flaw_of(other), len(operations_before)) == (None, None, 2)
    with override_settings(SAGAS={"SIGNING_KEYS": ["new"]}):
        assert flaw_of(other) is None
        first = SagaHistory.objects.filter(saga=saga).exclude(signature="").earliest("number")
        assert flaw_of(saga) == (Flaw.UNKNOWN_KEY.value, first.number)


def test_saga_may_be_signed_with_two_keys() -> None:
    with override_settings(SAGAS={"SIGNING_KEYS": ["old"]}):
        saga = begin(define(s0=Compensatable(do_nothing, nothing_to_undo)))
        operations.pause(saga.pk, actor=ADA, reason=REASON)
    with override_settings(SAGAS={"SIGNING_KEYS": ["new", "old"]}):
        operations.resume(saga.pk, actor=BOB, reason=REASON)
        assert flaw_of(saga) is None
        key_ids = {
            entry.signature.partition(":")[0] for entry in SagaHistory.objects.filter(saga=saga).exclude(signature="")
        }
        assert len(key_ids) == 2


def test_keys_default_to_those_of_the_project() -> None:
    with override_settings(SECRET_KEY="first"):
        saga = make_operated_saga(1)
    with override_settings(SECRET_KEY="second", SECRET_KEY_FALLBACKS=["first"]):
        assert flaw_of(saga) is None
    with override_settings(SECRET_KEY="second"):
        assert verify(saga).flaw is Flaw.UNKNOWN_KEY  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "data", [{}, {"a": 1.0, "b": [1e16, 0.1, -0.0, 10**30, 1e-7]}, {"\u2603": {"z": None, "a": [True, "\ud7ff"]}}]
)
def test_signed_data_survives_storage(data: dict[str, Any]) -> None:
    saga = begin(define(s0=Compensatable(do_nothing, nothing_to_undo)))
    at = datetime(2026, 11, 20, 3, 0, 0, 120_000, tzinfo=UTC)
    entry = {
        "saga_id": saga.pk, "number": 99, "at": at, "what": "x", "step": "", "from_state": "", "to_state": "",
        "actor": "ada", "reason": "", "data": data,
    }  # fmt: skip
    row = SagaHistory.objects.create(**entry)

    stored = SagaHistory.objects.filter(pk=row.pk).values().get()

    assert describe_entry(stored) == describe_entry(entry)


def test_all_sagas_are_verified_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PAGE", 2)
    sagas = [make_operated_saga(1) for _ in range(5)]
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET reason = 'x' WHERE id = %s", [list_logged(sagas[4])[0].pk])

    whole = verification.verify_all(signed_since=None)
    stopped = verification.verify_all(signed_since=None, should_stop=lambda: True)
    latest = verification.verify_operated(
        since=sagas[0].created_at, until=datetime.now(UTC), limit=3, signed_since=None
    )

    assert [finding.saga_id for finding in whole.findings] == [sagas[4].pk]
    assert (whole.sagas, whole.is_whole) == (5, True)
    assert (stopped.sagas, stopped.is_whole) == (0, False)
    assert (latest.sagas, latest.is_whole, latest.is_sound) == (3, False, False)


def test_concurrent_operation_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = make_operated_saga(1)
    read = verification._read
    torn: list[bool] = []

    def read_torn(saga_ids: Any) -> Any:
        for facts in read(saga_ids):
            if not torn:
                torn.append(True)
                object.__setattr__(facts, "signature_count", facts.signature_count + 1)
            yield facts

    monkeypatch.setattr(verification, "_read", read_torn)

    assert verify(saga) is None
    assert torn == [True]
