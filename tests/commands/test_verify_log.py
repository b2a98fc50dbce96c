"""``saga_verify_log``: exit codes for intact and changed logs."""

import pytest

from sagas.models import Saga, SagaHistory
from sagas.operators import operations
from sagas.operators.actor import Actor
from tests.table_owner import as_table_owner

from .cases import REASON, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")


def make_paused(number: str = "TRIP-1") -> Saga:
    saga = start_trip(number)
    operations.pause(saga.pk, actor=Actor(name="ada", is_trusted=True), reason=REASON)
    return saga


def tamper(saga: Saga) -> int:
    """Change a reason, as an owner of the table could."""
    entry = SagaHistory.objects.get(saga=saga, what="operator_acted")
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET reason = 'nothing to see' WHERE id = %s", [entry.pk])
    return entry.number


def test_intact_log() -> None:
    make_paused()

    done = run_command("saga_verify_log")

    assert (done.code, done.out) == (0, "Verified 3 signed entries of 1 sagas.\n")


def test_no_sagas() -> None:
    done = run_command("saga_verify_log", "--json")

    assert (done.code, done.json) == (0, {"sagas": 0, "entries": 0, "is_whole": True, "findings": []})


def test_changed_entry_is_named() -> None:
    make_paused("TRIP-1")
    saga = make_paused("TRIP-2")
    number = tamper(saga)

    text, data = run_command("saga_verify_log"), run_command("saga_verify_log", "--json", "--since", "1h")

    assert (text.code, data.code) == (1, 1)
    assert f"Entry {number} does not match its signa" in text.out
    assert "1 sagas have entries that are not intact." in text.err
    assert data.json["sagas"] == 2
    found = [(finding["saga_id"], finding["number"], finding["flaw"]) for finding in data.json["findings"]]
    assert found == [(str(saga.pk), number, "changed")]


def test_single_saga() -> None:
    sound, changed = make_paused("TRIP-1"), make_paused("TRIP-2")
    tamper(changed)

    assert run_command("saga_verify_log", "--saga", sound.pk).code == 0
    assert run_command("saga_verify_log", "--saga", changed.pk).code == 1


def test_entries_older_than_signing_need_no_signature() -> None:
    saga = make_paused()
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET signature = '' WHERE saga_id = %s", [saga.pk])
    Saga.objects.filter(pk=saga.pk).update(signature="", signature_count=0)

    assert run_command("saga_verify_log").code == 1
    assert run_command("saga_verify_log", "--signed-since", "2999-01-01T00:00:00Z").code == 0
