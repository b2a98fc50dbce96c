"""Notes: signed entries of the history that disturb neither the saga nor forms that were read before."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from sagas.core.states import SagaState
from sagas.exceptions import BadRequest, PermissionRefused, SagaNotFound
from sagas.models import Saga, SagaHistory
from sagas.models.saga import new_saga_id
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.audit.operator_log import LogQuery, read_log
from sagas.operators.notes import MAX_NOTE_CHARS, SagaNote, add_note, read_notes
from sagas.operators.presentation.documents import strip_document, write_documents
from sagas.operators.presentation.transcript import render
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.operators.visibility import Visibility
from sagas.retention import purge
from sagas.testing import drain

from .side_by_side import run_side_by_side
from .test_signatures import ADA, BOB, flaw_of
from .world import REASON, World, events, read

pytestmark = pytest.mark.django_db(databases="__all__")

TEXT = "The bank answers on Monday, ticket 4711."
UNCHANGED = (
    "state", "hold", "attention", "revision", "cause", "abort_request", "due_at", "woken_at", "queue", "deadline_at",
    "closed_at", "hook_due_at", "hook_tries", "most_attempts",
)  # fmt: skip


def facts_of(saga: Saga) -> list[Any]:
    """Return the columns that a note must not change."""
    return [*Saga.objects.values_list(*UNCHANGED).get(pk=saga.pk), *saga.steps.order_by("position").values_list()]


def test_note_is_a_signed_entry_and_changes_nothing_else(saga: Saga) -> None:
    Saga.objects.filter(pk=saga.pk).update(woken_at=saga.created_at)
    before, count = facts_of(saga), saga.history_count

    note = add_note(saga.pk, actor=ADA, text=f"  {TEXT}\r\nSecond line. ")

    [entry] = events(saga, "note_added")
    assert (entry.number, entry.actor, entry.reason) == (count + 1, "ada", f"{TEXT}\nSecond line.")
    assert (entry.from_state, entry.to_state, entry.step, entry.data) == ("", "", "", {})
    assert (note.number, note.at, note.actor, note.text, note.is_repeat) == (
        entry.number, entry.at, "ada", entry.reason, False,
    )  # fmt: skip
    assert (facts_of(saga), read(saga.pk).history_count) == (before, count + 1)
    assert (entry.signature == "", flaw_of(saga)) == (False, None)


@pytest.mark.parametrize("state", [SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.ABANDONED])
def test_closed_saga_takes_notes(world: World, saga: Saga, state: SagaState) -> None:
    if state is SagaState.ABANDONED:
        operations.abandon(saga.pk, actor=ADA, reason=REASON)
    elif state is SagaState.COMPENSATED:
        operations.force_compensate(saga.pk, actor=ADA, reason=REASON)
    saga = drain(saga)
    before = facts_of(saga)

    add_note(saga.pk, actor=ADA, text=TEXT)

    assert (saga.state, facts_of(saga)) == (state, before)
    assert [note.text for note in read_notes(saga.pk, newest=5)] == [TEXT]


def test_operation_decided_before_a_note_is_not_stale(saga: Saga) -> None:
    revision = saga.revision
    add_note(saga.pk, actor=BOB, text=TEXT)

    result = operations.pause(saga.pk, actor=ADA, reason=REASON, revision=revision)

    assert (result.is_repeat, read(saga.pk).hold) == (False, "paused")


def write(saga: Saga, text: str = TEXT, **options: Any) -> Callable[[], SagaNote]:
    return lambda: add_note(saga.pk, actor=ADA, text=text, **options)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_notes_while_a_step_runs_lose_no_number(world: World, saga: Saga) -> None:
    world.will("b", lambda _step, proceed: written.extend(run_side_by_side([write(saga, text) for text in "xyz"])))
    written: list[Any] = []

    saga = drain(saga)

    assert sorted(note.text for note in written) == ["x", "y", "z"]
    assert saga.state == "completed"
    assert sorted(entry.reason for entry in events(saga, "note_added")) == ["x", "y", "z"]
    assert [entry.number for entry in events(saga)] == list(range(1, saga.history_count + 1))
    assert flaw_of(saga) is None


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_form_sent_three_times_at_once_makes_one_note(world: World, saga: Saga) -> None:
    results = run_side_by_side([write(saga, seen=saga.history_count)] * 3)

    assert sorted(note.is_repeat for note in results) == [False, True, True]
    assert [entry.reason for entry in events(saga, "note_added")] == [TEXT]
    assert {note.number for note in results} == {saga.history_count + 1}


def test_same_text_is_a_repeat_only_from_the_same_author_and_page(saga: Saga) -> None:
    first = add_note(saga.pk, actor=ADA, text=TEXT, seen=1)

    assert add_note(saga.pk, actor=ADA, text=TEXT, seen=1).is_repeat
    assert not add_note(saga.pk, actor=BOB, text=TEXT, seen=1).is_repeat
    assert not add_note(saga.pk, actor=ADA, text=f"{TEXT}!", seen=1).is_repeat
    assert not add_note(saga.pk, actor=ADA, text=TEXT, seen=read(saga.pk).history_count).is_repeat
    assert not add_note(saga.pk, actor=ADA, text=TEXT).is_repeat
    numbers = [note.number - first.number for note in read_notes(saga.pk, newest=9)]
    assert numbers == [4, 3, 2, 1, 0]


TEXTS: dict[str, tuple[Any, str]] = {
    "empty": ("", "at least 1 visible character, not counting blanks; it has 0."),
    "blanks": (" \n\u2003", "at least 1 visible character"),
    "zero width": ("\u200b\u3164", "at least 1 visible character"),
    "marks alone": ("\u0301", "at least 1 visible character"),
    "no text": (17, "at least 1 visible character"),
    "long": ("x" * (MAX_NOTE_CHARS + 1), "at most 2000 characters; it has 2001."),
    "NUL": ("x\x00", "The note"),
    "half a pair": ("x\ud800", "The note"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_invalid_text_is_refused(saga: Saga, case: str) -> None:
    text, refusal = TEXTS[case]

    with pytest.raises(BadRequest, match="The note") as error:
        add_note(saga.pk, actor=ADA, text=text)

    assert refusal in str(error.value)
    assert events(saga, "note_added") == []


@pytest.mark.parametrize("text", ["x", "x" * MAX_NOTE_CHARS, "\u2603" * MAX_NOTE_CHARS, f"a{chr(0x202E)}b"])
def test_shortest_and_longest_text_are_stored(saga: Saga, text: str) -> None:
    assert add_note(saga.pk, actor=ADA, text=text).text == text
    assert events(saga, "note_added")[0].reason == text


def test_secrets_are_masked_before_they_are_stored(saga: Saga) -> None:
    note = add_note(saga.pk, actor=ADA, text="She paid with 4242 4242 4242 4242 again.")

    assert note.text == "She paid with [redacted: card number] again."
    assert events(saga, "note_added")[0].reason == note.text


@pytest.mark.parametrize(("group", "may_write"), [("viewers", False), ("operators", True), ("supervisors", True)])
def test_note_needs_its_permission(saga: Saga, group: str, may_write: bool) -> None:
    user = User.objects.create(username="eve")
    user.groups.add(Group.objects.get(name=f"Saga {group}"))
    if may_write:
        assert add_note(saga.pk, actor=Actor.of_user(user), text=TEXT).actor == "eve"
        return

    with pytest.raises(PermissionRefused, match=r"eve lacks the permission sagas\.note_saga\."):
        add_note(saga.pk, actor=Actor.of_user(user), text=TEXT)

    assert events(saga, "note_added") == []


def test_saga_must_exist() -> None:
    with pytest.raises(SagaNotFound):
        add_note(new_saga_id(), actor=ADA, text=TEXT)


def test_notes_are_in_log_transcript_and_documents(saga: Saga) -> None:
    operations.pause(saga.pk, actor=ADA, reason=REASON)
    note = add_note(saga.pk, actor=BOB, text=f"{TEXT}\nLine two.")

    logged = read_log(LogQuery()).operations
    assert [(one.operation, one.entry.reason) for one in logged] == [("", note.text), ("pause", REASON)]
    assert [one.entry.number for one in read_log(LogQuery(is_note=True)).operations] == [note.number]
    assert [one.entry.number for one in read_log(LogQuery(is_note=True, actor="ada")).operations] == []
    text = render(saga.pk, newest=1)
    assert f"\nNotes\n  (only the newest 1 notes are shown)\n  {note.number:>3} " in text
    assert f" by {BOB.name}\n      {TEXT}\n      Line two.\n\nHistory\n" in text
    [document] = write_documents([saga.pk])
    for shown in (document, strip_document(document, Visibility.STATES)):
        assert json.loads(shown)["history"][-1]["reason"] == note.text


def test_noted_sagas_are_found_as_operated(saga: Saga) -> None:
    assert SagaFilter(operated="yes").select().count() == 0

    note = add_note(saga.pk, actor=ADA, text=TEXT)

    assert [found.operated_at for found in SagaFilter(operated="yes").select()] == [note.at]


def test_notes_are_deleted_with_their_saga(world: World, saga: Saga) -> None:
    saga = drain(saga)
    add_note(saga.pk, actor=ADA, text=TEXT)
    assert saga.closed_at is not None

    report = purge.clean_up(purge.Scope(closed_before=saga.closed_at + timedelta(days=1)))

    assert (report.sagas, report.failed, SagaHistory.objects.count()) == (1, [], 0)
