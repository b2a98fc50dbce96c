"""Operation pages: permissions and required fields."""

import pytest

from sagas.operators.preconditions import PERMISSIONS, Operation
from sagas.operators.preview import LABELS

from . import trips
from .operating import fill, make
from .pages import LIST, REASON, LogIn, action_of, form_of, operations_of, page_of, stored, text_of

pytestmark = pytest.mark.django_db

OPERATORS_MAY = {Operation.RETRY, Operation.PAUSE, Operation.RESUME, Operation.CANCEL}
MAY = {"viewer": set(), "operator": OPERATORS_MAY, "supervisor": set(Operation), "admin": set(Operation)}


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("person", MAY)
def test_operations_need_their_permission(log_in: LogIn, person: str, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in(person), stored(saga)
    is_allowed = operation in MAY[person]

    page = text_of(client.get(page_of(saga)))
    assert (f'href="{action_of(saga, operation, step)}"' in page) is is_allowed
    if not is_allowed:
        assert f"needs the permission sagas.{PERMISSIONS[operation]}" in page

    shown = client.get(action_of(saga, operation, step))
    assert shown.status_code == (200 if is_allowed else 403)
    of_all = {Operation.PAUSE, Operation.RESUME, Operation.CANCEL, Operation.ABANDON}
    button = f"{LABELS[operation]}{' the saga' * (operation in of_all)}"
    assert (f">{button}</button>" in text_of(shown)) is is_allowed
    assert stored(saga) == before

    posted = client.post(action_of(saga, operation), fill(saga, operation, step))
    assert posted.status_code == (302 if is_allowed else 403)
    if is_allowed:
        assert posted["Location"] == page_of(saga)
        assert operations_of(saga)[-1] == (operation.value, person, REASON)
    else:
        assert f"lacks the permission sagas.{PERMISSIONS[operation]}" in text_of(posted)
        assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_anonymous_users_are_sent_to_the_login_page(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("anonymous"), stored(saga)

    for response in (
        client.get(action_of(saga, operation, step)),
        client.post(action_of(saga, operation), fill(saga, operation, step)),
        client.get(page_of(saga)),
        client.get(LIST),
    ):
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_staff_without_permissions_see_and_do_nothing(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("staff"), stored(saga)

    assert client.get(LIST).status_code == 403
    assert client.get(page_of(saga)).status_code == 403
    assert client.get(action_of(saga, operation, step)).status_code == 403
    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_operations_need_the_view_permission_too(log_in: LogIn, operation: Operation) -> None:
    from django.contrib.auth.models import Permission, User

    client = log_in("staff")
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename=PERMISSIONS[operation]))
    saga, step = make(operation)
    before = stored(saga)

    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_nothing_happens_without_a_csrf_token(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin", enforce_csrf_checks=True), stored(saga)

    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_nothing_happens_on_get(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    assert client.get(action_of(saga, operation), fill(saga, operation, step)).status_code == 200
    assert client.head(action_of(saga, operation, step)).status_code == 200
    assert client.put(action_of(saga, operation, step)).status_code == 405
    assert client.delete(action_of(saga, operation, step)).status_code == 405
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("reason", ["", "too short", "x" * 501, " " * 40, "nul \x00 inside the text"])
def test_reason_is_required(log_in: LogIn, operation: Operation, reason: str) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    response = client.post(action_of(saga, operation), fill(saga, operation, step, reason=reason))

    assert response.status_code == 400
    assert "Not done:" in text_of(response)
    assert 'aria-invalid="true"' in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("reason", ["x" * 10, "y" * 500, ("z" * 248 + "\r\n") * 2 + "ab"])
def test_reason_has_a_maximum_length(log_in: LogIn, reason: str) -> None:
    saga = trips.make_waiting_for_retry()

    response = log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga, reason=reason))

    assert response.status_code == 302
    assert operations_of(saga) == [("retry", "operator", reason.replace("\r\n", "\n"))]


@pytest.mark.parametrize("revision", ["", "0", "-1", "1.5", "one", "9" * 30, "9" * 6000, "\x00"])
def test_revision_is_required(log_in: LogIn, revision: str) -> None:
    saga = trips.make_waiting_for_retry()
    client, before = log_in("admin"), stored(saga)

    response = client.post(action_of(saga, Operation.RETRY), form_of(saga, revision=revision))

    assert response.status_code == 400
    assert f'name="revision" value="{saga.revision}"' in text_of(response)
    assert REASON in text_of(response)
    assert stored(saga) == before
