"""Secrets are planted wherever one could be left, and searched for wherever one could be found.

Rows of every table of every database, log lines in both formats, pages and responses for users without the permission
and with it, Django's error reports, mails, metrics, and what Celery logs about failed messages.
"""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core import mail
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.log import AdminEmailHandler

from config.log_lines import RedactingFormatter, RedactingJsonFormatter
from config.urls import urlpatterns as project_urls
from orders.models import Order
from payments.exceptions import GatewayAnswerLost, GatewayMisconfigured, GatewayUnavailable, PaymentDeclined
from payments.gateways.sandbox import SandboxGateway
from sagas import tasks
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS
from sagas.exceptions import OperationRefused
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing.drain import look

from .conftest import ADDRESS, Shopper, make_checkout, make_shopper

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

CARD, SPACED = "4556737586899855", "4556 7375 8689 9855"
KEY = "sk_live_c4n4ryC4n4ry51"
TOKEN = "eyJjYW5hcnkiOjF9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5"
BEARER = "cnry0123456789bearer"
PASSWORD = "cnry-hush-hush"
SECRETS = (CARD, SPACED, KEY, TOKEN, BEARER, PASSWORD)
ALL = (
    f"card {CARD} or {SPACED}, key {KEY}, {TOKEN}, Authorization: Bearer {BEARER}, password={PASSWORD},"
    f" postgres://shop:{PASSWORD}@db/shop"
)
OPERATOR = Actor(name="ada", is_trusted=True)
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"


def break_down(request: HttpRequest) -> HttpResponse:
    """Fail with secrets in the variables, the error and its cause."""
    card, password = CARD, PASSWORD  # noqa: F841 - what an error report would show
    nested = {"deep": [KEY, {"token": BEARER}]}  # noqa: F841 - what an error report would show
    try:
        raise ValueError(ALL)
    except ValueError as error:
        raise RuntimeError(f"failed for {ALL}") from error


urlpatterns = [path("broken/", break_down), path("api/broken/", break_down), *project_urls]
handler500 = "orders.api.problems.report_failure"


def find_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def find_in_rows() -> list[str]:
    """Search every column of every row of every table of every database."""
    found = []
    for alias in connections:
        with connections[alias].cursor() as cursor:
            cursor.execute(TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" AS t')  # noqa: S608 - its own tables
                found += [f"{alias}.{table}: {secret}" for (row,) in cursor.fetchall() for secret in find_in(row)]
    return found


@dataclass
class Log:
    """Log records in both formats."""

    console: io.StringIO = field(default_factory=io.StringIO)
    json: io.StringIO = field(default_factory=io.StringIO)

    @property
    def text(self) -> str:
        return self.console.getvalue() + self.json.getvalue()


@contextmanager
def listening() -> Iterator[Log]:
    """Capture the log as the project writes it, as text and as JSON."""
    log, root = Log(), logging.getLogger()
    declared = settings.LOGGING["formatters"]["structured"]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    json_line = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    rendered = {log.console: (RedactingFormatter, [plain]), log.json: (RedactingJsonFormatter, json_line)}
    handlers = []
    for stream, (formatter, renderers) in rendered.items():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(
            formatter(
                foreign_pre_chain=declared["foreign_pre_chain"],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            )
        )
        handlers.append(handler)
    levels = {name: logging.getLogger(name).level for name in ("", "django", "django.server", "celery", "kombu")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    root.handlers += handlers
    try:
        yield log
    finally:
        root.handlers = [handler for handler in root.handlers if handler not in handlers]
        logging.getLogger("django.db.backends").setLevel(logging.NOTSET)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def make_user(name: str, group: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def test_search_finds_what_is_not_redacted(customer: Shopper) -> None:
    with listening() as log:
        logging.getLogger("planted").warning("said %s", "canary")
    Order.objects.all().delete()
    User.objects.filter(username="customer").update(last_name=PASSWORD)

    assert "canary" in log.console.getvalue()
    assert json.loads(log.json.getvalue())["event"] == "said canary"
    assert find_in_rows() == [f"default.auth_user: {PASSWORD}"]


REQUESTS: dict[str, Any] = {
    "card as the method": make_checkout(payment_method=f"pm_{CARD}"),
    "card in fours": make_checkout(payment_method=SPACED),
    "card as the name": make_checkout(shipping_address={**ADDRESS, "name": SPACED}),
    "key as the street": make_checkout(shipping_address={**ADDRESS, "line1": f"c/o {KEY}"}),
    "all in line two": make_checkout(shipping_address={**ADDRESS, "line2": ALL}),
    "unknown member": make_checkout(password=PASSWORD, card_number=CARD),
    "unknown SKU": make_checkout(lines=[{"sku": KEY, "quantity": 1}]),
    "no JSON": ALL.encode(),
    "no object": [ALL],
}


@pytest.mark.parametrize("case", REQUESTS)
def test_secrets_of_a_request_are_neither_stored_nor_logged(customer: Shopper, case: str) -> None:
    headers = {
        "X-Api-Key": KEY, "Cookie": f"sessionid={PASSWORD}; csrftoken={PASSWORD}", "User-Agent": f"canary {ALL}",
        "Referer": f"https://shop.example/?access_token={BEARER}", "Traceparent": TOKEN, "X-Forwarded-For": CARD,
    }  # fmt: skip
    with listening() as log:
        answer = customer.checkout(REQUESTS[case], key=case.replace(" ", "-"), **headers)
        Client().get(f"/api/v1/orders/?token={BEARER}&password={PASSWORD}", headers={"Authorization": f"Token {KEY}"})
        Client().get(f"/api/v1/orders/{CARD}/?card_number={CARD}")
        Client().get("/admin/", headers={"Authorization": f"Basic {BEARER}", "Cookie": f"sessionid={KEY}"})

    assert answer.status_code in (400, 422), answer.content
    assert not Order.objects.exists()
    assert find_in_rows() == []
    assert find_in(log.text) == []
    assert log.text


def test_secret_idempotency_key_works_and_is_not_stored(customer: Shopper) -> None:
    with listening() as log:
        first, again = customer.checkout(key=KEY), customer.checkout(key=KEY)
        other = customer.checkout(key=CARD)

    assert [answer.status_code for answer in (first, again, other)] == [202, 202, 202]
    assert (first["Location"], again["Idempotent-Replayed"]) == (again["Location"], "true")
    assert other["Location"] != first["Location"]
    assert find_in_rows() == []
    assert find_in(log.text) == []


def test_login_stores_neither_name_nor_password() -> None:
    with listening() as log:
        for body in ({"username": CARD, "password": PASSWORD}, {"username": KEY, "password": CARD, "x": ALL}):
            answer = Client().post("/api/v1/auth/token/", body, content_type="application/json")
            assert answer.status_code in (401, 422)
            assert find_in(answer.content.decode()) == []
        Client().post("/admin/login/", {"username": CARD, "password": PASSWORD})

    assert find_in_rows() == []
    assert find_in(log.text) == []


def test_user_name_like_a_card_number_is_not_logged(fill_shop: None) -> None:
    shopper = make_shopper(CARD)
    with listening() as log:
        placed = shopper.checkout()
        look(Saga.objects.get().pk)

    assert placed.status_code == 202
    assert find_in_rows() == [f"default.auth_user: {CARD}"]
    assert find_in(log.text) == []


ERRORS: dict[str, Exception] = {
    "misconfigured": GatewayMisconfigured(ALL),
    "unavailable": GatewayUnavailable(ALL),
    "answer lost": GatewayAnswerLost(ALL),
    "declined": PaymentDeclined(code="declined", key=ALL),
    "a bug": KeyError(ALL),
    "no connection": ConnectionError(ALL),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_of_steps_reveal_no_secret(
    customer: Shopper, monkeypatch: pytest.MonkeyPatch, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        try:
            raise OSError(ALL)
        except OSError as cause:
            raise ERRORS[case] from cause

    monkeypatch.setattr(SandboxGateway, "authorize", fail)
    viewer, supervisor = make_user("viewer", "Saga viewers"), make_user("boss", "Saga supervisors")
    with listening() as log:
        placed = customer.checkout()
        saga = Saga.objects.get()
        look(saga.pk)
        with suppress(OperationRefused):  # a declined payment is final
            operations.pause(saga.pk, actor=OPERATOR, reason=f"because {ALL}")
        supervisor.post(
            f"/admin/sagas/saga/{saga.pk}/act/resume/",
            {"reason": ALL, "revision": Saga.objects.get().revision, "seen": 0, "step": ""},
        )
        with pytest.raises(OperationRefused):
            operations.skip_step(
                saga.pk, actor=OPERATOR, reason="because I want to", step="authorize_payment", result={"card": CARD}
            )
        call_command("saga_show", str(saga.pk))
        call_command("saga_show", str(saga.pk), "--json")
        call_command("saga_list")
        order = customer.get(placed["Location"])
        pages = [
            client.get(url)
            for client in (viewer, supervisor)
            for url in (
                "/admin/", "/admin/sagas/saga/", "/admin/sagas/saga/failures/", "/admin/sagas/saga/log/",
                f"/admin/sagas/saga/?q={CARD}", "/admin/sagas/sagabarrier/", "/admin/orders/order/",
                *(f"/admin/sagas/saga/{saga.pk}/change/?tab={tab}" for tab in ORCHESTRATION_TABS),
                f"/admin/sagas/saga/{saga.pk}/bundle/", f"/admin/sagas/saga/{saga.pk}/act/abandon/",
                f"/api/v1/sagas/{saga.pk}/", "/api/v1/sagas/", "/metrics", "/readyz",
            )
        ]  # fmt: skip

    assert order.status_code == 200
    assert saga.attempts.filter(step__name="authorize_payment").exclude(message="").exists()
    assert find_in_rows() == []
    assert find_in(log.text) == []
    assert find_in(capsys.readouterr().out) == []
    assert find_in(order.content.decode()) == []
    shown = "".join(page.content.decode() for page in pages if page.request["QUERY_STRING"] != f"q={CARD}")
    assert find_in(shown) == []


@pytest.mark.parametrize("url", ["/broken/", "/api/broken/"])
@pytest.mark.parametrize("debug", [False, True])
def test_error_reports_reveal_no_secret(url: str, debug: bool) -> None:
    reports = logging.getLogger("django.request")
    handler = AdminEmailHandler(include_html=True)
    reports.addHandler(handler)
    try:
        with (
            listening() as log,
            override_settings(ROOT_URLCONF="tests.api.test_canary", DEBUG=debug, ADMINS=[("Root", "root@a.example")]),
        ):
            answer = Client(raise_request_exception=False).post(
                f"{url}?token={BEARER}&q={CARD}",
                {"password": PASSWORD, "reason": ALL},
                headers={
                    "Authorization": f"Bearer {BEARER}",
                    "Cookie": f"sessionid={KEY}; note={TOKEN}",
                    "X-Api-Key": KEY,
                },
            )
    finally:
        reports.removeHandler(handler)

    assert answer.status_code == 500
    assert find_in(answer.content.decode()) == []
    assert find_in(log.text) == []
    assert "RuntimeError" in log.text
    [sent] = mail.outbox
    whole = sent.subject + sent.body + "".join(str(part) for part, _ in getattr(sent, "alternatives", []))
    assert "RuntimeError" in whole
    assert "break_down" in whole
    assert find_in(whole) == []
    assert find_in_rows() == []


def test_celery_logs_no_secret_of_a_failed_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        password = PASSWORD  # noqa: F841 - what a report would show
        raise RuntimeError(ALL)

    monkeypatch.setattr("sagas.engine.advance.advance", fail)
    saga_id = "01890000-0000-7000-8000-000000000001"
    with listening() as log:
        failed = tasks.advance.apply(args=[saga_id])
        tasks.advance.apply(args=[ALL])
        tasks.advance.apply(kwargs={"saga_id": KEY})
        logging.getLogger("celery.app.trace").error(
            "Task %(name)s[%(id)s] %(description)s: %(exc)s\n",
            {"name": "sagas.advance", "id": "1", "description": "raised unexpected", "exc": RuntimeError(ALL)},
        )
        logging.getLogger("celery.worker.consumer.consumer").error(
            "Received unregistered task of type %s.\nThe full contents of the message body was:\n%s", "x",
            json.dumps([[ALL], {"password": PASSWORD, "card": CARD}, {}]),
        )  # fmt: skip

    assert failed.state == "FAILURE"
    assert find_in(log.text) == []
    assert "sagas.advance" in log.text
    assert find_in_rows() == []
