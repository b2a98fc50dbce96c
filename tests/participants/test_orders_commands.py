"""Commands ``shop_seed`` and ``checkout_cleanup``."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from inventory.services import availability
from orders import retention, services
from orders.management.commands import checkout_cleanup, shop_seed
from orders.models import IdempotencyRecord, Order, Product, ThrottleBucket
from orders.requests import Address, CheckoutRequest, LineRequest
from sagas.models import Saga

pytestmark = pytest.mark.django_db(databases="__all__")


def run(command: str, *arguments: str) -> str:
    printed = StringIO()
    call_command(command, *arguments, stdout=printed)
    return printed.getvalue()


def test_seed_creates_the_demo_and_may_be_repeated() -> None:
    run("shop_seed")
    Product.objects.filter(sku="MUG-WHITE").update(unit_price_minor=1)
    User.objects.get(username="viewer").set_password("changed")
    run("shop_seed")

    assert set(Product.objects.values_list("sku", flat=True)) == {
        "TEA-EARL-GREY", "TEA-SENCHA", "MUG-WHITE", "KETTLE-COPPER", "SCONE-SOLD-OUT",
    }  # fmt: skip
    assert Product.objects.get(sku="MUG-WHITE").unit_price_minor == 1
    assert availability(["KETTLE-COPPER", "SCONE-SOLD-OUT"]) == {"KETTLE-COPPER": 1, "SCONE-SOLD-OUT": 0}
    facts = ("username", "is_staff", "is_superuser", "groups__name")
    assert set(User.objects.values_list(*facts)) == {
        ("operator", True, False, "Saga operators"),
        ("supervisor", True, False, "Saga supervisors"),
        ("viewer", True, False, "Saga viewers"),
        ("admin", True, True, None),
        ("customer", False, False, None),
    }
    assert all(User.objects.get(username=name).check_password(name) for name in ("operator", "admin", "customer"))


def test_seed_does_not_change_existing_accounts() -> None:
    User.objects.create_user("admin", password="of somebody else")

    run("shop_seed")

    found = User.objects.get(username="admin")
    assert found.check_password("of somebody else")
    assert not found.is_superuser


def test_seed_reports_users_and_products() -> None:
    assert run("shop_seed", "--no-input") == "The shop has 5 demo users and 5 demo products.\n"
    assert json.loads(run("shop_seed", "--json")) == {"users": 5, "products": 5}
    assert run("shop_seed", "--verbosity", "0") == ""


def test_seeded_viewers_and_operators_have_their_permissions() -> None:
    run("shop_seed")
    viewer, operator = User.objects.get(username="viewer"), User.objects.get(username="operator")

    for name in ("sagas.view_saga", "orders.view_order", "payments.view_payment", "shipping.view_shipment"):
        assert viewer.has_perm(name)
        assert operator.has_perm(name)
    for name in ("sagas.retry_saga", "sagas.cancel_saga", "sagas.pause_saga", "payments.clear_failure"):
        assert not viewer.has_perm(name)
        assert operator.has_perm(name)
    for name in ("sagas.abandon_saga", "sagas.override_saga", "orders.change_product", "auth.change_user"):
        assert not operator.has_perm(name)


# A command closes its connections at the end, which would end a test's transaction.
at_a_prompt = pytest.mark.django_db(transaction=True, databases="__all__")


def run_from_prompt(command: Any, *arguments: str) -> None:
    """Run the command as ``manage.py`` does."""
    command.run_from_argv(["manage.py", "command", *arguments])


@at_a_prompt
def test_interactive_seed_asks_for_the_flag(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_from_prompt(shop_seed.Command())

    assert stopped.value.code == 1
    assert "--demo-data" in capsys.readouterr().err
    assert not User.objects.exists()
    assert not Group.objects.filter(user__isnull=False).exists()


@at_a_prompt
@pytest.mark.parametrize(("debug", "arguments"), [(True, ()), (False, ("--demo-data",))])
def test_interactive_seed_with_the_flag_or_debug(settings: Settings, debug: bool, arguments: tuple[str, ...]) -> None:
    settings.DEBUG = debug

    run_from_prompt(shop_seed.Command(), *arguments)

    assert User.objects.filter(username="admin").exists()


def place(customer: User, key: str, *, expires_in: timedelta) -> Order:
    """Place an order whose answer expires after this time, which may be negative."""
    address = Address(name="Ada", line1="Tea Lane 1", line2="", city="Bath", postal_code="BA1", country="GB")
    request = CheckoutRequest(
        lines=(LineRequest(sku="TEA", quantity=1),), payment_method="pm_card_visa", shipping_address=address
    )
    answer = services.checkout(customer=customer, key=key, digest="0" * 64, request=request)
    IdempotencyRecord.objects.filter(key=key).update(expires_at=timezone.now() + expires_in)
    return Order.objects.get(number=answer.order_number)


def close_saga(order: Order) -> None:
    Saga.objects.filter(pk=order.saga_id).update(state="completed", closed_at=timezone.now(), due_at=None)


@pytest.fixture
def leftovers() -> None:
    """Create answers and counters on both sides of every limit."""
    customer = User.objects.create(username="ada")
    Product.objects.create(sku="TEA", name="Tea", unit_price_minor=790, currency="EUR")
    past, future = timedelta(minutes=-1), timedelta(minutes=1)
    close_saga(place(customer, "expired", expires_in=past))
    close_saga(place(customer, "not expired", expires_in=future))
    place(customer, "expired, saga open", expires_in=past)
    gone = place(customer, "expired, saga deleted", expires_in=past)
    Order.objects.filter(pk=gone.pk).update(saga_id="00000000-0000-7000-8000-000000000000")
    ThrottleBucket.objects.create(key="past", free_at=timezone.now() + past)
    ThrottleBucket.objects.create(key="future", free_at=timezone.now() + future)


KEPT = {"not expired", "expired, saga open"}


@pytest.mark.parametrize("batch_size", [1, 500])
def test_cleanup_deletes_what_expired_and_keeps_open_sagas(leftovers: None, batch_size: int) -> None:
    report = retention.clean_up(batch_size=batch_size)

    assert report == retention.CleanupReport(idempotency_records=2, throttle_buckets=1)
    assert set(IdempotencyRecord.objects.values_list("key", flat=True)) == KEPT
    assert set(ThrottleBucket.objects.values_list("key", flat=True)) == {"future"}
    assert Order.objects.count() == 4


def test_cleanup_command_reports(leftovers: None) -> None:
    assert run("checkout_cleanup", "--dry-run") == "Would delete 2 answers and 1 counters.\n"
    assert json.loads(run("checkout_cleanup", "--dry-run", "--json")) == {
        "idempotency_records": 2, "throttle_buckets": 1, "dry_run": True,
    }  # fmt: skip
    assert IdempotencyRecord.objects.count() == 4
    assert run("checkout_cleanup", "--no-input") == "Deleted 2 answers and 1 counters.\n"
    assert run("checkout_cleanup") == "Deleted 0 answers and 0 counters.\n"


def test_cleanup_command_fails_with_1_and_refuses_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_arguments: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(checkout_cleanup, "clean_up", fail)
    with pytest.raises(CommandError) as failed:
        run("checkout_cleanup")
    with pytest.raises(SystemExit) as refused:
        run_from_prompt(checkout_cleanup.Command(), "--nonsense")

    assert (failed.value.returncode, refused.value.code) == (1, 2)
