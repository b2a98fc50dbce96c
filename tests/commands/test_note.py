"""Notes from the command line."""

import pytest
from django.contrib.auth.models import Permission, User

from sagas.models import SagaHistory
from sagas.operators.notes import read_notes

from .cases import completed_trip, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")

TEXT = "The bank answers on Monday.\nTicket 4711."


def test_note_is_stored_and_shown() -> None:
    saga = completed_trip()

    done = run_command("saga_note", str(saga.pk)[:13], TEXT)

    [note] = read_notes(saga.pk, newest=5)
    assert (done.code, done.err, note.text) == (0, "", TEXT)
    assert done.out == f"Note {note.number} of saga {saga.pk} is stored.\n"
    shown = run_command("saga_show", saga.pk).out
    assert f" by {note.actor}\n      The bank answers on Monday.\n      Ticket 4711.\n" in shown
    assert f"{note.number:>3} {note.at:%Y-%m-%d %H:%M:%S}" in shown
    assert run_command("saga_show", saga.pk, "--json").json["history"][-1]["reason"] == TEXT


def test_json_has_the_note() -> None:
    saga = start_trip()

    found = run_command("saga_note", saga.pk, TEXT, "--json").json

    assert (found["saga_id"], found["text"], found["is_repeat"]) == (str(saga.pk), TEXT, False)


def test_permissions_of_an_account_apply() -> None:
    saga, user = start_trip(), User.objects.create(username="ada")

    refused = run_command("saga_note", saga.pk, TEXT, "--user", "ada")
    user.user_permissions.add(Permission.objects.get(codename="note_saga"))
    done = run_command("saga_note", saga.pk, TEXT, "--user", "ada")

    assert (refused.code, done.code) == (1, 0)
    assert "lacks the permission sagas.note_saga." in refused.err
    assert [note.actor.partition(" (")[0] for note in read_notes(saga.pk, newest=5)] == ["ada"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "the following arguments are required: TEXT"),
        (("",), "The note needs at least 1 visible character"),
        (("\u200b",), "The note needs at least 1 visible character"),
        (("x" * 2001,), "The note must have at most 2000 characters; it has 2001."),
        (("x\x1b",), "contains control characters"),
        ((TEXT, "--user", "nobody"), "There is no active user 'nobody'"),
    ],
)
def test_wrong_calls_store_nothing(arguments: tuple[str, ...], text: str) -> None:
    saga = start_trip()

    done = run_command("saga_note", saga.pk, *arguments)

    assert (done.code, text in done.err) == (2, True), done.err
    assert SagaHistory.objects.filter(what="note_added").count() == 0
