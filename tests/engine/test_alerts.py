"""Alerts: sent once, after the commit; no hook blocks the engine."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from smtplib import SMTPServerDisconnected
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.db import connections, transaction
from django.test import override_settings

from config.mailers import describe_mail_server
from sagas import Misconfigured, OutcomeUnknown, RetryPolicy, alerts
from sagas.alerts import Alert, AlertNotSent
from sagas.core.states import Attention, Hold
from sagas.engine import holds
from sagas.engine.notify import alert_dispatch
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.monitoring import checks
from sagas.operators import operations
from sagas.testing import pass_time

from .world import COMPENSATION, OPERATOR, REASON, Broken, Refused, World, begin, define, step_of, work

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ONCE = RetryPolicy(attempts=1, base=0.0, cap=0.0)
QUIET = {"WAKEUP": "none"}
HOOK = "tests.engine.test_alerts.record_alert"
CARD = "4111111111111111"

received: list[Alert] = []
in_transaction: list[bool] = []
behaviour: list[Callable[[Alert], None]] = []


def record_alert(alert: Alert) -> None:
    """Record an alert, as a hook of the project."""
    in_transaction.append(any(connections[alias].in_atomic_block for alias in connections))
    received.append(alert)
    if behaviour:
        behaviour[0](alert)


@pytest.fixture(autouse=True)
def _reset_alerts() -> Iterator[None]:
    """Reset the recorded alerts and the alert queue."""
    received.clear(), in_transaction.clear(), behaviour.clear()
    alert_dispatch._queue.forget()
    with override_settings(SAGAS={**QUIET, "ON_ATTENTION": [HOOK]}):
        yield
    alert_dispatch._queue.forget()


def flush_received() -> list[tuple[str, str, str]]:
    alert_dispatch.flush()
    return [(alert.reason, alert.step, alert.state) for alert in received]


def test_hold_is_alerted_once_however_often_a_worker_wakes(world: World) -> None:
    world.will("b", Misconfigured("no key"))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.pivot()))
    for _ in range(3):
        work(saga)

    assert flush_received() == [("misconfigured", "b", "running")]
    [alert] = received
    assert (alert.saga_id, alert.definition, alert.version) == (saga.pk, "trip", 1)
    row = saga.history.get(what="held")
    assert (alert.number, alert.at) == (row.number, row.at)
    assert in_transaction == [False]


def test_hold_that_begins_again_is_alerted_again(world: World) -> None:
    world.will("b", Misconfigured("no key"), Misconfigured("still none"))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.pivot()))
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    work(saga)

    assert flush_received() == [("misconfigured", "b", "running")] * 2
    assert len({alert.id for alert in received}) == 2


def test_attention_is_alerted_with_its_reason(world: World) -> None:
    world.will("b", Refused("no"))
    world.will("a", Broken("x"), direction=COMPENSATION)
    steps = {"a": world.compensatable(compensation_retry=ONCE), "b": world.compensatable()}
    work(world.begin(**steps))

    assert flush_received() == [("compensation_failing", "a", "compensating")]


def test_unknown_pivot_and_passed_deadline_are_alerted(world: World) -> None:
    world.will("b", *[OutcomeUnknown("?")] * 2)
    steps = {"a": world.compensatable(), "b": world.pivot(external=True, retry=ONCE)}
    saga = work(world.begin(deadline=timedelta(hours=1), **steps))
    pass_time(timedelta(hours=2))
    work(saga)

    assert flush_received() == [("outcome_unknown", "b", "running"), ("overdue", "", "running")]


def test_operations_of_operators_are_not_alerted(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)

    assert flush_received() == []


def test_rolled_back_write_sends_no_alert(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with transaction.atomic():
        unit = SagaUnitOfWork.lock(saga.pk)
        holds.set_hold(unit, unit.step("a"), Hold.MISCONFIGURED)
        unit.write()
        transaction.set_rollback(True)

    assert flush_received() == []
    assert step_of(saga, "a").hold is None


def test_attention_cleared_before_the_write_is_not_alerted(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with transaction.atomic():
        unit = SagaUnitOfWork.lock(saga.pk)
        holds.set_attention(unit, unit.step("a"), Attention.RETRIES_EXHAUSTED)
        holds.set_attention(unit, unit.step("a"), None)
        unit.write()

    assert flush_received() == []


def test_nothing_is_queued_without_a_hook(world: World) -> None:
    with override_settings(SAGAS=QUIET):
        world.will("a", Misconfigured("no key"))
        work(world.begin(a=world.compensatable(), b=world.pivot()))
        assert not alert_dispatch._queue.has_thread


def test_slow_hook_blocks_no_worker(world: World) -> None:
    may_end = threading.Event()
    behaviour.append(lambda alert: may_end.wait(30) and None)
    world.will("a", Misconfigured("no key"), Misconfigured("no key"))
    trip = define(a=world.compensatable(), b=world.pivot())
    first, second = work(begin(trip)), work(begin(trip))

    assert [step_of(saga, "a").hold for saga in (first, second)] == ["misconfigured", "misconfigured"]
    assert len(received) <= 1
    may_end.set()
    assert len(flush_received()) == 2


@pytest.mark.parametrize("error", [ValueError("planted"), SystemError("planted")])
def test_failing_hook_is_retried_and_others_are_called(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, world: World, error: Exception
) -> None:
    monkeypatch.setattr(alert_dispatch, "PAUSES_SECONDS", (0.0, 0.0))

    def fail(alert: Alert) -> None:
        raise error

    behaviour.append(fail)
    world.will("a", Misconfigured("no key"))
    with override_settings(SAGAS={**QUIET, "ON_ATTENTION": ["no.such.hook", HOOK]}), caplog.at_level(logging.WARNING):
        saga = work(world.begin(a=world.compensatable(), b=world.pivot()))
        wait_until(lambda: caplog.messages.count("Alert dropped after its last try.") == 2)

    assert step_of(saga, "a").hold == "misconfigured"
    assert [alert.reason for alert in received] == ["misconfigured"] * 3
    assert [record.message for record in caplog.records if record.name == "sagas.engine.notify.alert_dispatch"].count(
        "Alert failed; trying again."
    ) == 4


def test_full_queue_drops_alerts_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alert_dispatch, "CAPACITY", 2)
    may_end = threading.Event()
    behaviour.append(lambda alert: may_end.wait(30) and None)
    with caplog.at_level(logging.WARNING):
        alert_dispatch.announce([make_alert(number=number) for number in range(10)])
    may_end.set()

    assert 2 <= len(flush_received()) <= 4
    assert [record.message for record in caplog.records] == [
        "Alerts dropped: the hooks of SAGAS['ON_ATTENTION'] are too slow."
    ]


def test_invalid_setting_loses_only_alerts(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.will("a", Misconfigured("no key"))
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with caplog.at_level(logging.ERROR), override_settings(SAGAS={**QUIET, "ON_ATTENTION": [5]}):
        work(saga)
        alert_dispatch.flush()

    assert step_of(saga, "a").hold == "misconfigured"


def test_alert_thread_closes_its_connections(world: World) -> None:
    used: list[Any] = []

    def ask(alert: Alert) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        used.append(connections["default"])

    behaviour.append(ask)
    world.will("a", Misconfigured("no key"))
    work(world.begin(a=world.compensatable(), b=world.pivot()))

    wait_until(lambda: bool(used) and used[0].connection is None)


# --- The senders ---


def make_alert(**changes: Any) -> Alert:
    facts = {
        "saga_id": UUID(int=7), "number": 5, "definition": "checkout", "version": 2, "state": "compensating",
        "reason": "compensation_failing", "step": "void_payment", "at": datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    }  # fmt: skip
    return Alert(**{**facts, **changes})


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


class Receiver(ThreadingHTTPServer):
    """Web server that keeps what is posted and answers as set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers, self.may_answer = 200, {}, threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0/B0/hush-hush"


class RequestHandler(BaseHTTPRequestHandler):
    """Handler of one request."""

    server: Receiver

    def do_POST(self) -> None:
        """Keep the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        self.server.may_answer.wait(20)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def run_receiver(**settings: Any) -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    given = {
        "ALERT_WEBHOOK_URL": server.url, "ALERT_WEBHOOK_SECRET": "shared", "CONSOLE_URL": "https://a.example/admin",
        "ALERT_TIMEOUT": timedelta(seconds=10),
    }  # fmt: skip
    try:
        with override_settings(SAGAS={**given, **settings}):
            yield server
    finally:
        server.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_webhook_posts_signed_saga_and_reason() -> None:
    with run_receiver() as server:
        alerts.send_webhook(make_alert())

    [(path, headers, body)] = server.posts
    assert path == "/services/T0/B0/hush-hush"
    assert headers["Content-Type"] == "application/json"
    assert headers["Sagas-Signature"] == f"sha256={alerts.sign('shared', headers['Sagas-Timestamp'], body)}"
    assert json.loads(body) == {
        "id": f"{UUID(int=7)}:5",
        "saga_id": str(UUID(int=7)),
        "definition": "checkout",
        "version": 2,
        "state": "compensating",
        "reason": "compensation_failing",
        "step": "void_payment",
        "at": "2026-11-20T03:00:00+00:00",
        "url": f"https://a.example/admin/sagas/saga/{UUID(int=7)}/change/",
        "text": f"Saga checkout {UUID(int=7)} needs an operator: compensation failing at void_payment.",
    }


def test_signature_depends_on_secret_timestamp_and_body() -> None:
    signatures = {
        alerts.sign(*given) for given in (("a", "1", b"x"), ("b", "1", b"x"), ("a", "2", b"x"), ("a", "1", b"y"))
    }

    assert len(signatures) == 4
    assert all(len(signature) == 64 for signature in signatures)


def test_webhook_without_a_secret_is_not_signed() -> None:
    with run_receiver(ALERT_WEBHOOK_SECRET="") as server:
        alerts.send_webhook(make_alert())

    assert "Sagas-Signature" not in server.posts[0][1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (404, {}), (302, {"Location": "/elsewhere"}), (307, {"Location": "http://127.0.0.1:1/"})],
)
def test_only_success_is_a_delivery_and_redirects_are_not_followed(status: int, headers: dict[str, str]) -> None:
    with run_receiver() as server:
        server.status, server.headers = status, headers
        with pytest.raises(AlertNotSent) as caught:
            alerts.send_webhook(make_alert())

    assert str(caught.value) == f"The webhook answered {status}."
    assert len(server.posts) == 1


def test_silent_webhook_times_out_without_revealing_its_address() -> None:
    with run_receiver(ALERT_TIMEOUT=timedelta(seconds=0.2)) as server:
        server.may_answer.clear()
        with pytest.raises(AlertNotSent) as caught:
            alerts.send_webhook(make_alert())

    assert str(caught.value) == "The webhook did not answer: TimeoutError."
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://a.example/", "http://127.0.0.1:1/x", "http://[bad/"])
def test_webhook_accepts_web_addresses_only(url: str) -> None:
    with override_settings(SAGAS={"ALERT_WEBHOOK_URL": url}), pytest.raises(AlertNotSent) as caught:
        alerts.send_webhook(make_alert())

    assert "passwd" not in str(caught.value)


ROOT_MAIL = "root@a.example"


@pytest.mark.parametrize("admins", [[("Root", ROOT_MAIL)], [ROOT_MAIL]], ids=["pairs", "addresses"])
@pytest.mark.parametrize(
    ("emails", "sent_as"),
    [
        (["night@a.example"], ("[sagas] compensation failing: checkout", "shop@a.example", ["night@a.example"])),
        ([], ("[shop] [sagas] compensation failing: checkout", "server@a.example", [ROOT_MAIL])),
    ],
)
def test_mail_names_saga_and_reason(emails: list[str], sent_as: tuple[object, ...], admins: list[Any]) -> None:
    given = {"ALERT_EMAILS": emails, "CONSOLE_URL": "https://a.example/admin/"}
    names = {"DEFAULT_FROM_EMAIL": "shop@a.example", "SERVER_EMAIL": "server@a.example"}
    with override_settings(SAGAS=given, ADMINS=admins, EMAIL_SUBJECT_PREFIX="[shop] ", **names):
        alerts.send_mail(make_alert(step=""))

    [sent] = mail.outbox
    assert (sent.subject, sent.from_email, sent.to) == sent_as
    assert sent.body == (
        f"Saga checkout {UUID(int=7)} needs an operator: compensation failing.\n"
        "It is compensating. Raised at 2026-11-20 03:00:00 UTC.\n"
        f"https://a.example/admin/sagas/saga/{UUID(int=7)}/change/\n"
    )


def test_no_recipients_is_no_failure() -> None:
    with override_settings(SAGAS={"ALERT_EMAILS": []}, ADMINS=[]):
        alerts.send_mail(make_alert())

    assert mail.outbox == []


def test_silent_mail_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with override_mail_server(host, port), pytest.raises(SMTPServerDisconnected, match="timed out"):
            alerts.send_mail(make_alert())


@contextmanager
def override_mail_server(host: str, port: int) -> Iterator[None]:
    """Configure SMTP in the form of the installed Django, with a short time-out."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    given: dict[str, Any] = {"EMAIL_BACKEND": backend, "EMAIL_HOST": host, "EMAIL_PORT": port}
    engine = {"ALERT_EMAILS": ["night@a.example"], "ALERT_TIMEOUT": timedelta(seconds=0.2)}
    with override_settings(SAGAS=engine, **describe_mail_server(given)):
        yield


def test_no_payload_is_mailed_or_posted(world: World) -> None:
    with run_receiver(
        **QUIET, ON_ATTENTION=["sagas.alerts.send_mail", "sagas.alerts.send_webhook"], ALERT_EMAILS=["a@b.c"]
    ) as server:
        world.will("a", {"note": "a private note"})
        world.will("b", Misconfigured(f"a private error, {CARD}"))
        saga = begin(
            define(a=world.compensatable(), b=world.compensatable(), c=world.pivot()), customer="private-person"
        )
        work(saga)
        alert_dispatch.flush(20)

    [(_, _, body)] = server.posts
    told_to_people = body.decode() + mail.outbox[0].subject + mail.outbox[0].body
    assert str(saga.pk) in told_to_people
    assert "private" not in told_to_people
    assert CARD not in told_to_people


# --- The checks ---


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ON_ATTENTION": [HOOK]}, []),
        ({"ON_ATTENTION": ["no.such.hook"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["nodots"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": [5]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["sagas.alerts.TIME_HEADER"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["sagas.alerts.send_webhook"]}, ["sagas.E016", "sagas.W006"]),
        (
            {
                "ON_ATTENTION": ["sagas.alerts.send_webhook"],
                "ALERT_WEBHOOK_URL": "https://a",
                "ALERT_WEBHOOK_SECRET": "s",
            },
            [],
        ),
    ],
)
def test_checks_report_hooks_that_cannot_work(given: dict[str, Any], expected: list[str]) -> None:
    with override_settings(SAGAS=given):
        messages = checks.check_alerts()

    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)
