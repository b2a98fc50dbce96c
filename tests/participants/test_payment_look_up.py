"""Look-up of a payment by an operator who needs to know whether the money was taken."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from payments import services
from payments.admin import MOST_LOOKED_UP
from payments.exceptions import GatewayUnavailable
from payments.gateways.base import Answer, Authorization
from payments.models import Payment
from payments.services import capture

from .money import CAPTURE_KEY, KEY, lose_capture

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

LIST = "admin:payments_payment_changelist"


@pytest.fixture
def payment() -> Payment:
    """Capture money without an answer."""
    lose_capture()
    return Payment.objects.get(key=KEY)


@pytest.fixture
def log_in() -> Callable[..., Client]:
    """Log a user in with these permissions."""

    def enter(*codenames: str) -> Client:
        user = User.objects.create_user("someone", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return enter


class UnreachableGateway:
    """Unreachable provider."""

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        raise GatewayUnavailable("The provider cannot be reached.", key=key)


class EmptyGateway:
    """Provider without any payment."""

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        return None


def look_up(client: Client, *payments: Payment) -> list[str]:
    """Post the action, and return the messages of the page."""
    data = {"action": "look_up", "_selected_action": [str(payment.pk) for payment in payments]}
    answer = client.post(reverse(LIST), data, follow=True)
    return [str(message) for message in answer.context["messages"]]


def test_look_up_stores_the_providers_answer_for_the_step(payment: Payment, log_in: Callable[..., Client]) -> None:
    client = log_in("view_payment", "look_up_payment")

    assert look_up(client, payment) == [f"{KEY}: the payment is captured. Retry the waiting step: it gets this answer."]
    assert Payment.objects.get().state == "captured"
    assert capture(key=KEY, provider_key=CAPTURE_KEY).state == "captured"
    [entry] = LogEntry.objects.all()
    assert (entry.user.username, entry.get_change_message()) == ("someone", "Looked up at the provider: Captured.")


def test_payment_unknown_to_the_provider_stays_open(
    payment: Payment, log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "get_gateway", EmptyGateway)

    assert look_up(log_in("view_payment", "look_up_payment"), payment) == [
        (
            f"{KEY}: the provider has no record of the capture; the payment stays capturing. A request may still be"
            " in transit: look it up again before you mark a step as refused."
        )
    ]
    assert Payment.objects.get().state == "capturing"


def test_unreachable_provider_is_reported_and_changes_nothing(
    payment: Payment, log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "get_gateway", UnreachableGateway)

    assert look_up(log_in("view_payment", "look_up_payment"), payment) == [
        f"{KEY}: The provider cannot be reached. Nothing was changed."
    ]
    assert Payment.objects.get().state == "capturing"
    assert not LogEntry.objects.exists()


def test_number_of_look_ups_is_limited(log_in: Callable[..., Client]) -> None:
    facts = {"state": "authorizing", "amount_minor": 1, "currency": "EUR", "order_number": "A-1"}
    payments = [Payment.objects.create(key=f"{number}:pay", **facts) for number in range(MOST_LOOKED_UP + 1)]

    said = look_up(log_in("view_payment", "look_up_payment"), *payments)

    assert len(said) == MOST_LOOKED_UP + 1
    assert said[-1].startswith(f"Only the first {MOST_LOOKED_UP} were looked up")


def test_look_up_needs_its_permission_and_a_post(payment: Payment, log_in: Callable[..., Client]) -> None:
    client = log_in("view_payment")

    look_up(client, payment)
    assert "look_up" not in client.get(reverse(LIST)).content.decode()
    client.get(reverse(LIST), {"action": "look_up", "_selected_action": str(payment.pk)})

    assert Payment.objects.get().state == "capturing"


def test_command_reports_what_was_found(payment: Payment) -> None:
    output = StringIO()
    call_command("payment_look_up", KEY, stdout=output)

    assert output.getvalue() == f"{KEY}: the payment is captured. Retry the waiting step: it gets this answer.\n"


def test_command_prints_json(payment: Payment) -> None:
    output = StringIO()
    call_command("payment_look_up", KEY, "--json", stdout=output)

    assert json.loads(output.getvalue()) == {
        "key": KEY,
        "order_number": "A-1",
        "state": "captured",
        "operations": [
            {"kind": "authorize", "state": "succeeded", "unanswered": 0},
            {"kind": "capture", "state": "succeeded", "unanswered": 0},
        ],
    }


def test_command_rejects_an_unknown_key() -> None:
    with pytest.raises(CommandError, match=r"No payment has the key nonsense.* Nothing was changed"):
        call_command("payment_look_up", "nonsense")
