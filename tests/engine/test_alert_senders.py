"""Alert senders: webhook and mail, with timeouts and without payloads."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from smtplib import SMTPServerDisconnected
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.test import override_settings

from config.mailers import describe_mail_server
from sagas import Misconfigured, alerts
from sagas.alerts import Alert, AlertNotSent
from sagas.engine.notify import alert_dispatch

from .world import World, begin, define, work

QUIET = {"WAKEUP": "none"}
CARD = "4111111111111111"


def make_alert(**changes: Any) -> Alert:
    facts = {
        "saga_id": UUID(int=7), "number": 5, "definition": "checkout", "version": 2, "state": "compensating",
        "reason": "compensation_failing", "step": "void_payment", "at": datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    }  # fmt: skip
    return Alert(**{**facts, **changes})


class Receiver(ThreadingHTTPServer):
    """Web server that records requests and responds as configured."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers, self.may_answer = 200, {}, threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0/B0/hush-hush"


class Answering(BaseHTTPRequestHandler):
    """Handler of one request."""

    server: Receiver

    def do_POST(self) -> None:
        """Record the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        self.server.may_answer.wait(20)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def receiving(**settings: Any) -> Iterator[Receiver]:
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


def test_webhook_posts_the_saga_and_reason_signed() -> None:
    with receiving() as server:
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


def test_signature_depends_on_secret_time_and_body() -> None:
    signatures = {
        alerts.sign(*given) for given in (("a", "1", b"x"), ("b", "1", b"x"), ("a", "2", b"x"), ("a", "1", b"y"))
    }

    assert len(signatures) == 4
    assert all(len(signature) == 64 for signature in signatures)


def test_webhook_without_a_secret_is_not_signed() -> None:
    with receiving(ALERT_WEBHOOK_SECRET="") as server:
        alerts.send_webhook(make_alert())

    assert "Sagas-Signature" not in server.posts[0][1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (404, {}), (302, {"Location": "/elsewhere"}), (307, {"Location": "http://127.0.0.1:1/"})],
)
def test_only_a_2xx_status_is_a_delivery_and_no_redirect_is_followed(status: int, headers: dict[str, str]) -> None:
    with receiving() as server:
        server.status, server.headers = status, headers
        with pytest.raises(AlertNotSent) as caught:
            alerts.send_webhook(make_alert())

    assert str(caught.value) == f"The webhook answered {status}."
    assert len(server.posts) == 1


def test_silent_webhook_times_out_and_its_url_is_not_revealed() -> None:
    with receiving(ALERT_TIMEOUT=timedelta(seconds=0.2)) as server:
        server.may_answer.clear()
        with pytest.raises(AlertNotSent) as caught:
            alerts.send_webhook(make_alert())

    assert str(caught.value) == "The webhook did not answer: TimeoutError."
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://a.example/", "http://127.0.0.1:1/x", "http://[bad/"])
def test_webhook_needs_an_http_url(url: str) -> None:
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
def test_mail_names_the_saga_and_reason(emails: list[str], sent_as: tuple[object, ...], admins: list[Any]) -> None:
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


def test_missing_recipients_are_not_an_error() -> None:
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
    """Send mails by SMTP with a short timeout, in the settings' form of the installed Django."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    given: dict[str, Any] = {"EMAIL_BACKEND": backend, "EMAIL_HOST": host, "EMAIL_PORT": port}
    engine = {"ALERT_EMAILS": ["night@a.example"], "ALERT_TIMEOUT": timedelta(seconds=0.2)}
    with override_settings(SAGAS=engine, **describe_mail_server(given)):
        yield


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_no_payload_reaches_a_mail_or_a_webhook(world: World) -> None:
    with receiving(
        **QUIET, ON_ATTENTION=["sagas.alerts.send_mail", "sagas.alerts.send_webhook"], ALERT_EMAILS=["a@b.c"]
    ) as server:
        alert_dispatch._queue.forget()
        world.will("a", {"note": "a private note"})
        world.will("b", Misconfigured(f"a private error, {CARD}"))
        saga = begin(
            define(a=world.compensatable(), b=world.compensatable(), c=world.pivot()), customer="private-person"
        )
        work(saga)
        alert_dispatch.flush(20)
        alert_dispatch._queue.forget()

    [(_, _, body)] = server.posts
    sent = body.decode() + mail.outbox[0].subject + mail.outbox[0].body
    assert str(saga.pk) in sent
    assert "private" not in sent
    assert CARD not in sent
