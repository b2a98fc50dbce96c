"""Every operation by every role on every path: the exact answer, and no effect where it is refused.

The tables are written out, not derived from the engine's rules.
"""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework.authtoken.models import Token

from sagas import clock
from sagas.models import BulkState, Saga, SagaAccess, SagaBulk, SagaView
from sagas.operators.actor import Actor
from sagas.operators.audit import access_log
from sagas.operators.bulk import freezing, runner
from sagas.operators.notes import read_notes
from sagas.operators.preconditions import Operation
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.operators.saved_views import save_view
from tests.commands.cases import run_command

from . import trips
from .operating import WHERE
from .pages import EVIDENCE, LIST, REASON, action_of, form_of, operations_of, page_of, stored

pytestmark = pytest.mark.django_db(databases="__all__")

BULKS = "/admin/sagas/sagabulk/"
NEW = f"{BULKS}new/"
REST = "/api/v1/sagas/"
ALL = frozenset(Operation)
ROLES: dict[str, frozenset[Operation]] = {
    "anonymous": frozenset(),
    "nobody": frozenset(),  # staff, without a single permission
    "viewer": frozenset(),
    "operator": frozenset({Operation.RETRY, Operation.PAUSE, Operation.RESUME, Operation.CANCEL}),
    "supervisor": ALL,
    "superuser": ALL,
    "inactive": frozenset(),  # a superuser whose account was closed
}
GROUPS = {"viewer": "Saga viewers", "operator": "Saga operators", "supervisor": "Saga supervisors"}
STRANGERS = ("anonymous", "inactive")
IN_BULK = frozenset({Operation.RETRY, Operation.COMPENSATE, Operation.PAUSE, Operation.RESUME, Operation.CANCEL})
MAY_BULK = ("operator", "supervisor", "superuser")
COMMANDS: dict[Operation, tuple[str, ...]] = {
    Operation.RETRY: ("saga_retry",),
    Operation.COMPENSATE: ("saga_compensate",),
    Operation.SKIP: ("saga_skip",),
    Operation.MARK_SUCCEEDED: ("saga_resolve", "--as", "succeeded", "--evidence", EVIDENCE),
    Operation.MARK_REFUSED: ("saga_resolve", "--as", "refused", "--evidence", EVIDENCE),
    Operation.MARK_COMPENSATED: ("saga_resolve", "--as", "compensated", "--evidence", EVIDENCE),
    Operation.PAUSE: ("saga_pause",),
    Operation.RESUME: ("saga_resume",),
    Operation.CANCEL: ("saga_cancel",),
    Operation.ABANDON: ("saga_abandon",),
}


class Person:
    """User with access to every interface."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.client, self.token = Client(), ""
        if role == "anonymous":
            return
        user = User.objects.create(
            username=role, is_staff=True, is_superuser=role in ("superuser", "inactive"), is_active=role != "inactive"
        )
        if role in GROUPS:
            user.groups.add(Group.objects.get(name=GROUPS[role]))
        self.client.force_login(user)
        self.token = Token.objects.create(user=user).key

    def post_json(self, path: str, body: object) -> int:
        """Send JSON with this user's token.

        Returns: the status.
        """
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        # Not the session's client, whose login must not matter here.
        return Client().post(path, body, content_type="application/json", headers=headers).status_code

    def run_bulk(self) -> None:
        """Confirm the only frozen set, if that is still to be done, and run it as a worker."""
        [frozen] = SagaBulk.objects.all()
        if frozen.state == BulkState.FROZEN:
            self.client.post(f"{BULKS}{frozen.pk}/start/", {"reason": REASON})
        with clock.restored():
            clock.move(timedelta(seconds=5))
            runner.advance(frozen.pk)
        SagaBulk.objects.all().delete()


def fill(saga: Saga, operation: Operation, step: str | None) -> dict[str, object]:
    evidence = {"evidence": EVIDENCE} if operation.value.startswith("mark") else {}
    return form_of(saga, step=step or "", **evidence)


def get_page(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    return person.client.get(action_of(saga, operation, step)).status_code


def post_page(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    response = person.client.post(action_of(saga, operation), fill(saga, operation, step))
    is_done = response.status_code == 302 and response["Location"] == page_of(saga)
    return 200 if is_done else response.status_code


def post_to_other_ids(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    """Send the form of one saga to the address of another, and of none."""
    other = trips.start()
    before = stored(other)
    code = operation.value.replace("_", "-")
    form = {**fill(saga, operation, step), "revision": 99}
    found = person.client.post(f"{LIST}{other.pk}/act/{code}/", form).status_code
    assert found != 302 or person.role in STRANGERS, person.role
    assert stored(other) == before, person.role
    return person.client.post(f"{LIST}{uuid4()}/act/{code}/", form).status_code


def act_on_selection(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    form = {"action": operation.value, "index": "0", "_selected_action": [str(saga.pk)]}
    response = person.client.post(LIST, form)
    if response.status_code == 302 and response["Location"].startswith("/admin/sagas/sagabulk/"):
        person.run_bulk()
        return 200
    # The page answers a request that makes no sense by redirecting to the list with a message.
    return 400 if response.get("Location") == LIST else response.status_code


def act_on_filter(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    number = saga.keys.get(name="order").value
    response = person.client.post(f"{NEW}?q={number}", {"operation": operation.value})
    if response.status_code == 302 and response["Location"].startswith("/admin/sagas/sagabulk/"):
        person.run_bulk()
        return 200
    return response.status_code


def act_over_http(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    body = {"reason": REASON, "revision": Saga.objects.get(pk=saga.pk).revision}
    if step:
        body["step"] = step
    if operation.value.startswith("mark"):
        body["evidence"] = EVIDENCE
    return person.post_json(f"{REST}{saga.pk}/actions/{operation.value.replace('_', '-')}/", body)


def act_in_bulk_over_http(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    status = person.post_json(f"{REST}bulks/", {"operation": operation.value, "sagas": [str(saga.pk)]})
    if status == 201:
        person.run_bulk()
        return 200
    return status


def act_in_bulk_entirely_over_http(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    """Freeze and start a bulk over HTTP, as programs do."""
    status = person.post_json(f"{REST}bulks/", {"operation": operation.value, "sagas": [str(saga.pk)]})
    if status == 201:
        [frozen] = SagaBulk.objects.all()
        status = person.post_json(f"{REST}bulks/{frozen.pk}/start/", {"reason": REASON})
        person.run_bulk()
    return status


def act_in_bulk_by_command(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    done = run_command("saga_bulk", operation.value, "--id", saga.pk, "--reason", REASON, "--user", person.role)
    if done.code == 0:
        person.run_bulk()
    return done.code


def act_by_command(person: Person, operation: Operation, saga: Saga, step: str | None) -> int:
    command, *more = COMMANDS[operation]
    where = ("--step", step) if step else ()
    done = run_command(command, saga.pk, *where, *more, "--reason", REASON, "--user", person.role)
    return done.code


Act = Callable[[Person, Operation, Saga, str | None], int]


def may_bulk(role: str, operation: Operation) -> bool:
    """Return whether a role may do an operation in bulk: it needs that permission and the operation's own."""
    return role in MAY_BULK and operation in ROLES[role] & IN_BULK


def expect_page(role: str, operation: Operation) -> int:
    if role in STRANGERS:
        return 302  # to the login page
    return 200 if operation in ROLES[role] else 403


def expect_other(role: str, operation: Operation) -> int:
    return 404 if operation in ROLES[role] else expect_page(role, operation)


def expect_selection(role: str, operation: Operation) -> int:
    if role not in MAY_BULK:
        return 302 if role in STRANGERS else 403
    return 200 if may_bulk(role, operation) else 400  # the list offers no other


def expect_filter(role: str, operation: Operation) -> int:
    if role in STRANGERS:
        return 302
    if role == "nobody":
        return 403
    if operation not in IN_BULK:
        return 400  # no role may do it, and the page says why
    return 200 if may_bulk(role, operation) else 403


def expect_http(role: str, operation: Operation) -> int:
    if role in STRANGERS:
        return 401
    return 200 if operation in ROLES[role] else 403


def expect_bulk_over_http(role: str, operation: Operation) -> int:
    if role in STRANGERS:
        return 401
    if role == "nobody":
        return 403
    if operation not in IN_BULK:
        return 422
    return 200 if may_bulk(role, operation) else 403


def expect_command(role: str, operation: Operation) -> int:
    if role in STRANGERS:
        return 2  # there is no active account of this name
    return 0 if operation in ROLES[role] else 1


def expect_bulk_by_command(role: str, operation: Operation) -> int:
    if role in STRANGERS or operation not in IN_BULK:
        return 2  # no such account, or no such choice
    return 0 if may_bulk(role, operation) else 1


PATHS: dict[str, tuple[Act, Callable[[str, Operation], int], int | None]] = {
    "GET of the page": (get_page, expect_page, None),
    "POST of the page": (post_page, expect_page, 200),
    "direct address with other ids": (post_to_other_ids, expect_other, None),
    "bulk by selection": (act_on_selection, expect_selection, 200),
    "bulk by filter": (act_on_filter, expect_filter, 200),
    "REST": (act_over_http, expect_http, 200),
    "bulk by REST": (act_in_bulk_over_http, expect_bulk_over_http, 200),
    "bulk by REST alone": (act_in_bulk_entirely_over_http, expect_bulk_over_http, 200),
    "command line": (act_by_command, expect_command, 0),
    "bulk by command line": (act_in_bulk_by_command, expect_bulk_by_command, 0),
}


@pytest.mark.parametrize("path", PATHS)
def test_operation_by_role_and_path(path: str) -> None:
    act, expect, done = PATHS[path]
    people = {role: Person(role) for role in ROLES}
    for operation in Operation:
        maker, step = WHERE[operation]
        saga = trips.MAKERS[maker]()
        for role, person in people.items():
            before, operations = stored(saga), len(operations_of(saga))

            found = act(person, operation, saga, step)

            assert found == expect(role, operation), (operation, role)
            if done is not None and found == done:
                new = [operation[0] for operation in operations_of(saga)[operations:]]
                assert new == [operation.value], (operation, role)
                assert operations_of(saga)[-1][1].startswith(role), (operation, role)
                saga = trips.MAKERS[maker]()
            else:
                assert stored(saga) == before, (operation, role)
    assert SagaBulk.objects.count() == 0


def test_table_has_every_operation_and_both_answers() -> None:
    assert set(COMMANDS) == set(WHERE) == ALL
    for act, expect, done in PATHS.values():
        answers = {expect(role, operation) for role in ROLES for operation in Operation}
        assert len(answers) >= 3 or done == 0, act


def freeze_as(person: Person, operation: Operation, saga: Saga) -> SagaBulk:
    """Freeze a set for a user who had all permissions then, and has those of the role now."""
    if person.role == "anonymous":
        return freezing.freeze_selected(operation, [saga.pk], actor=trips.BOSS)
    user = User.objects.get(username=person.role)
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_active=True)
    frozen = freezing.freeze_selected(operation, [saga.pk], actor=Actor.of_user(User.objects.get(pk=user.pk)))
    User.objects.filter(pk=user.pk).update(is_superuser=user.is_superuser, is_active=user.is_active)
    return frozen


def start_as_superuser(saga: Saga) -> SagaBulk:
    """Start a bulk that every user with the permission may stop."""
    frozen = freezing.freeze_selected(Operation.PAUSE, [saga.pk], actor=trips.BOSS)
    return freezing.start_bulk(frozen.pk, actor=trips.BOSS, reason=REASON)[0]


def start_over_http(person: Person, frozen: SagaBulk) -> int:
    return person.post_json(f"{REST}bulks/{frozen.pk}/start/", {"reason": REASON})


def stop_over_http(person: Person, frozen: SagaBulk) -> int:
    return person.post_json(f"{REST}bulks/{frozen.pk}/stop/", {})


def start_on_page(person: Person, frozen: SagaBulk) -> int:
    return person.client.post(f"{BULKS}{frozen.pk}/start/", {"reason": REASON}).status_code


def stop_on_page(person: Person, frozen: SagaBulk) -> int:
    return person.client.post(f"{BULKS}{frozen.pk}/stop/", {}).status_code


def stop_by_command(person: Person, frozen: SagaBulk) -> int:
    return run_command("saga_bulk_stop", frozen.pk, "--user", person.role).code


# By path: the request, whether it is a stop, and the answers: anonymous, without permission, with permission.
SWITCHES: dict[str, tuple[Callable[[Person, SagaBulk], int], bool, tuple[int, int, int]]] = {
    "start by REST": (start_over_http, False, (401, 403, 200)),
    "start on the page": (start_on_page, False, (302, 403, 302)),
    "stop by REST": (stop_over_http, True, (401, 403, 200)),
    "stop on the page": (stop_on_page, True, (302, 403, 302)),
    "stop by command line": (stop_by_command, True, (2, 1, 0)),
}


@pytest.mark.parametrize("way", SWITCHES)
def test_starting_and_stopping_a_bulk_by_role(way: str) -> None:
    switch, is_stop, (to_strangers, to_others, to_the_permitted) = SWITCHES[way]
    saga = trips.make_waiting_for_retry()
    for role in ROLES:
        person = Person(role)
        frozen = start_as_superuser(saga) if is_stop else freeze_as(person, Operation.PAUSE, saga)
        before = SagaBulk.objects.filter(pk=frozen.pk).values().get()

        found = switch(person, frozen)

        after = SagaBulk.objects.filter(pk=frozen.pk).values().get()
        if role in MAY_BULK:
            assert (role, found, after["state"]) == (role, to_the_permitted, "stopped" if is_stop else "running")
        else:
            assert (role, found) == (role, to_strangers if role in STRANGERS else to_others)
            assert after == before, role
    assert operations_of(saga) == []


def note_on_page(person: Person, saga: Saga) -> int:
    return person.client.post(f"{LIST}{saga.pk}/notes/", {"seen": "0", "text": REASON}).status_code


def note_over_http(person: Person, saga: Saga) -> int:
    return person.post_json(f"{REST}{saga.pk}/notes/", {"text": REASON})


def note_by_command(person: Person, saga: Saga) -> int:
    return run_command("saga_note", saga.pk, REASON, "--user", person.role).code


MAY_NOTE = ("operator", "supervisor", "superuser")
# By path: the request, and the answers: to strangers, without the permission, with it.
NOTE_WAYS: dict[str, tuple[Callable[[Person, Saga], int], tuple[int, int, int]]] = {
    "page": (note_on_page, (302, 403, 302)),
    "REST": (note_over_http, (401, 403, 201)),
    "command line": (note_by_command, (2, 1, 0)),
}


@pytest.mark.parametrize("way", NOTE_WAYS)
def test_writing_notes_by_role(way: str) -> None:
    write, (to_strangers, to_others, to_the_permitted) = NOTE_WAYS[way]
    saga = trips.make_completed()
    for role in ROLES:
        before = stored(saga)

        found = write(Person(role), saga)

        if role in MAY_NOTE:
            assert (role, found) == (role, to_the_permitted)
            [note] = read_notes(saga.pk, newest=1)
            assert (note.actor.startswith(role), note.text) == (True, REASON)
        else:
            assert (role, found) == (role, to_strangers if role in STRANGERS else to_others)
            assert stored(saga) == before, role
    assert len(read_notes(saga.pk, newest=9)) == len(MAY_NOTE)


def save_own(person: Person) -> int:
    return person.client.post(f"{LIST}views/new/?closed=no", {"name": "Open"}).status_code


def save_shared(person: Person) -> int:
    return person.client.post(f"{LIST}views/new/?closed=no", {"name": "Open", "is_shared": "on"}).status_code


def rename_shared(person: Person) -> int:
    return person.client.post(f"{LIST}views/{SagaView.objects.get().pk}/", {"name": "Renamed"}).status_code


def delete_shared(person: Person) -> int:
    return person.client.post(f"{LIST}views/{SagaView.objects.get().pk}/delete/", {"name": "Kept"}).status_code


Views = list[tuple[str, bool]]
SHARED: Views = [("Kept", True)]
ON_VIEWS = ("viewer", "operator", "supervisor", "superuser")
MAY_SHARE = ("supervisor", "superuser")
# By what is done: the request, who may, and the views (name, shared) before and afterwards.
VIEW_WAYS: dict[str, tuple[Callable[[Person], int], tuple[str, ...], Views, Views]] = {
    "save": (save_own, ON_VIEWS, [], [("Open", False)]),
    "save shared": (save_shared, MAY_SHARE, [], [("Open", True)]),
    "change shared": (rename_shared, MAY_SHARE, SHARED, [("Renamed", False)]),
    "delete shared": (delete_shared, MAY_SHARE, SHARED, []),
}


@pytest.mark.parametrize("way", VIEW_WAYS)
def test_saved_views_by_role(way: str) -> None:
    act, permitted, before, after = VIEW_WAYS[way]
    boss = Actor.of_user(User.objects.create(username="boss", is_superuser=True))
    for role in ROLES:
        SagaView.objects.all().delete()
        for name, is_shared in before:
            save_view(SagaFilter(closed="no"), actor=boss, name=name, is_shared=is_shared)

        found = act(Person(role))

        assert (role, found) == (role, 302 if role in (*STRANGERS, *permitted) else 403)
        stored_now = list(SagaView.objects.values_list("name", "is_shared"))
        assert (role, stored_now) == (role, after if role in permitted else before)


# What is read, and whether it needs the payload permission.
# What is read, and whether it holds error texts.
READ: dict[str, tuple[str, bool]] = {
    "list": (LIST, True),
    "list, refreshed": (f"{LIST}refresh/", True),
    "page": (f"{LIST}{{saga}}/change/?tab=steps", True),
    "page, refreshed": (f"{LIST}{{saga}}/refresh/?tab=steps", True),
    "dashboard, refreshed": (f"{LIST}dashboard/refresh/", False),
    "definitions": (f"{LIST}definitions/", False),
    "definition": (f"{LIST}definitions/trip/3/", False),
    "failures": (f"{LIST}failures/", True),
    "log": (f"{LIST}log/", False),
    "views": (f"{LIST}views/", False),
    "new view": (f"{LIST}views/new/?closed=no", False),
    "export as CSV": (f"{LIST}export/csv/", True),
    "export as NDJSON": (f"{LIST}export/ndjson/", True),
    "bundle": (f"{LIST}{{saga}}/bundle/", True),
    "bulks": (BULKS, False),
    "bulk": (f"{BULKS}{{bulk}}/change/", False),
    "bulk, refreshed": (f"{BULKS}{{bulk}}/refresh/", False),
}
SEE_PAYLOADS = ("supervisor", "superuser")
SEE_ERRORS = ("operator", *SEE_PAYLOADS)
PAYLOADS = ('"made"', "Traceback (most")
SECRET = "The airline is closed."


@pytest.mark.parametrize("what", READ)
def test_reading_by_role(what: str) -> None:
    path, holds_errors = READ[what]
    saga = trips.make_compensation_failing()
    before, url = stored(saga), path.format(saga=saga.pk, bulk=start_as_superuser(saga).pk)
    for role in ROLES:
        response = Person(role).client.get(url)

        expected = 302 if role in STRANGERS else 403 if role == "nobody" else 200
        assert (role, response.status_code) == (role, expected)
        text = b"".join(response).decode()
        assert (role, SECRET in text) == (role, holds_errors and role in SEE_ERRORS)
        assert role in SEE_PAYLOADS or not any(payload in text for payload in PAYLOADS), role
    assert stored(saga) == before
    seen = SagaAccess.objects.filter(what__in=[access_log.What.PAGE, access_log.What.EXPORT, access_log.What.BUNDLE])
    assert set(seen.values_list("actor", flat=True)) <= set(SEE_ERRORS)


def test_values_and_verification_by_role() -> None:
    saga = trips.make_compensation_failing()
    for role in ROLES:
        client = Person(role).client
        value = client.get(f"{LIST}{saga.pk}/payload/?of=input")
        verified = client.post(f"{LIST}log/", {})

        stranger = 302 if role in STRANGERS else None
        assert (role, value.status_code) == (role, stranger or (200 if role in SEE_PAYLOADS else 403))
        assert (role, verified.status_code) == (role, stranger or (403 if role == "nobody" else 200))
