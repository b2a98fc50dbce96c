"""Operations on a saga over HTTP, by the console's own functions."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from psycopg.errors import SerializationFailure

from sagas.operators import operations
from sagas.operators.preconditions import Operation
from tests.admin import trips
from tests.admin.operating import WHERE
from tests.admin.pages import EVIDENCE, REASON, operations_of, stored

from .conftest import Enter, assert_problem, list_pointers, set_rates
from .operating import BULKS, SAGAS, body_of, url_of

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_is_previewed_and_done(enter: Enter, operation: Operation) -> None:
    maker, step = WHERE[operation]
    saga = trips.MAKERS[maker]()
    boss, before = enter("supervisor"), stored(saga)

    plan = boss.get(url_of(saga, operation) + (f"?step={step}" if step else ""))
    assert (plan.status_code, plan.json()["is_allowed"], stored(saga)) == (200, True, before)

    done = boss.post(url_of(saga, operation), body_of(saga, operation, step))
    assert (done.status_code, done.json()["is_repeat"]) == (200, False), done.content
    assert operations_of(saga)[-1] == (operation.value, "supervisor", REASON)

    again = boss.post(url_of(saga, operation), body_of(saga, operation, step, revision=plan.json()["revision"]))
    assert (again.status_code, again.json().get("is_repeat")) in [(200, True), (409, None)]
    assert sum(entry == (operation.value, "supervisor", REASON) for entry in operations_of(saga)) == 1


def test_stale_revision_does_nothing_and_reports_the_current_state(enter: Enter) -> None:
    saga, operator = trips.make_waiting_for_retry(), enter("operator")
    body = body_of(saga)
    operations.retry_now(saga.pk, actor=trips.BOSS, reason=REASON)
    before = stored(saga)

    problem = assert_problem(operator.post(url_of(saga, Operation.PAUSE), body), 409, "stale-revision")

    assert (problem["expected"], problem["found"], stored(saga)) == (2, 3, before)


def test_refusal_reports_the_current_state(enter: Enter) -> None:
    saga = trips.make_completed()
    before = stored(saga)

    problem = assert_problem(enter("admin").post(url_of(saga, Operation.PAUSE), body_of(saga)), 409, "refused")

    assert "completed" in problem["detail"]
    assert stored(saga) == before


def test_conflict_of_transactions_is_no_refusal(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    saga, operator = trips.make_waiting_for_retry(), enter("operator")
    body, before = body_of(saga), stored(saga)

    def conflict(*_args: object) -> None:
        raise OperationalError from SerializationFailure("could not serialize access due to concurrent update")

    monkeypatch.setattr(operations.SagaUnitOfWork, "lock", conflict)
    problem = assert_problem(operator.post(url_of(saga, Operation.PAUSE), body), 409, "transaction-conflict")

    assert "Try again" in problem["detail"]
    assert stored(saga) == before


HUGE = 10**400
BODIES: dict[str, tuple[Any, set[str]]] = {
    "reason missing": ({"revision": 1}, {"/reason"}),
    "reason short": ({"reason": "short", "revision": 1}, {"/reason"}),
    "reason blank": ({"reason": " " * 30, "revision": 1}, {"/reason"}),
    "reason long": ({"reason": "x" * 501, "revision": 1}, {"/reason"}),
    "reason number": ({"reason": 1234567890123, "revision": 1}, {"/reason"}),
    "reason null": ({"reason": None, "revision": 1}, {"/reason"}),
    "reason list": ({"reason": [REASON], "revision": 1}, {"/reason"}),
    "reason with NUL": ({"reason": REASON + "\x00", "revision": 1}, {"/reason"}),
    "reason with half a pair": ({"reason": REASON + "\ud800", "revision": 1}, {"/reason"}),
    "revision missing": ({"reason": REASON}, {"/revision"}),
    "revision text": ({"reason": REASON, "revision": "1"}, {"/revision"}),
    "revision true": ({"reason": REASON, "revision": True}, {"/revision"}),
    "revision null": ({"reason": REASON, "revision": None}, {"/revision"}),
    "revision zero": ({"reason": REASON, "revision": 0}, {"/revision"}),
    "revision fraction": ({"reason": REASON, "revision": 1.0}, {"/revision"}),
    "revision beyond a column": ({"reason": REASON, "revision": 2**31}, {"/revision"}),
    "revision huge": ({"reason": REASON, "revision": HUGE}, {"/revision"}),
    "actor": ({"reason": REASON, "revision": 1, "actor": "boss"}, {"/actor"}),
    "operation": ({"reason": REASON, "revision": 1, "operation": "abandon"}, {"/operation"}),
    "step number": ({"reason": REASON, "revision": 1, "step": 1}, {"/step"}),
    "result list": ({"reason": REASON, "revision": 1, "result": [1]}, {"/result"}),
    "evidence short": ({"reason": REASON, "revision": 1, "evidence": "no"}, {"/evidence"}),
    "list": ([], {""}),
    "text": ("x", {""}),
}


@pytest.mark.parametrize("case", BODIES)
def test_invalid_bodies_do_nothing_and_are_explained(enter: Enter, case: str) -> None:
    saga = trips.start()
    before = stored(saga)
    body, pointers = BODIES[case]

    answer = enter("admin").post(url_of(saga, Operation.PAUSE), body)

    problem = assert_problem(answer, 422, "invalid-input")
    assert list_pointers(problem) == pointers
    assert stored(saga) == before


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        (Operation.PAUSE, {"step": "pay"}),
        (Operation.PAUSE, {"evidence": EVIDENCE}),
        (Operation.CANCEL, {"result": {}}),
        (Operation.MARK_REFUSED, {"step": "pay", "result": {}}),
        (Operation.SKIP, {}),
        (Operation.MARK_SUCCEEDED, {"evidence": EVIDENCE}),
        (Operation.SKIP, {"step": "nonsense"}),
        (Operation.RETRY, {"step": "nonsense"}),
    ],
)
def test_argument_of_another_operation_is_refused(enter: Enter, operation: Operation, changes: Any) -> None:
    saga = trips.make_held_unknown()
    before = stored(saga)
    body = {"reason": REASON, "revision": saga.revision, **changes}

    assert_problem(enter("admin").post(url_of(saga, operation), body), 422, "invalid-input")

    assert stored(saga) == before


def test_unknown_urls(enter: Enter) -> None:
    saga, admin = trips.start(), enter("admin")
    body = body_of(saga)

    for path in (f"{SAGAS}{uuid4()}/", f"{SAGAS}nonsense/", f"{BULKS}{uuid4()}/", f"{BULKS}{uuid4()}/results/"):
        assert_problem(admin.get(path), 404, "not-found")
    for path in (
        f"{SAGAS}{uuid4()}/actions/pause/", f"{url_of(saga)}actions/nonsense/", f"{url_of(saga)}actions/mark_refused/",
    ):  # fmt: skip
        assert_problem(admin.post(path, body), 404, "not-found")
    assert_problem(admin.post(f"{BULKS}{uuid4()}/start/", {"reason": REASON}), 404, "not-found")
    assert_problem(admin.post(url_of(saga), body), 405, "method-not-allowed")
    assert_problem(admin.post(url_of(saga, Operation.PAUSE), b"{"), 400, "malformed-json")
    assert_problem(
        admin.post(url_of(saga, Operation.PAUSE), b"x", content_type="text/plain"), 415, "unsupported-media-type"
    )
    assert_problem(admin.get(f"{url_of(saga, Operation.PAUSE)}?step=%00"), 400, "bad-request")
    assert_problem(admin.post(f"{url_of(saga, Operation.PAUSE)}?revision=1", body), 400, "bad-request")
    assert operations_of(saga) == []


def test_requests_are_throttled(enter: Enter, settings: Any) -> None:
    set_rates(settings, sagas="2/day")
    saga, operator, other = trips.start(), enter("operator"), enter("supervisor")
    for _ in range(2):
        assert operator.get(SAGAS).status_code == 200

    answer = operator.post(url_of(saga, Operation.PAUSE), body_of(saga))

    assert_problem(answer, 429, "too-many-requests")
    assert int(answer["Retry-After"]) > 0
    assert (other.get(SAGAS).status_code, operations_of(saga)) == (200, [])
