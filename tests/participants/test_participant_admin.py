import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from inventory.models import Reservation, StockItem
from inventory.services import Line, ensure_stock, reserve
from payments.models import Payment, SandboxAuthorization, SandboxOperation
from shipping.models import SandboxBooking, Shipment

from .money import KEY, authorize_with

pytestmark = pytest.mark.django_db(databases="__all__")

SHOWN = [StockItem, Reservation, Payment, SandboxAuthorization, SandboxOperation, Shipment, SandboxBooking]


@pytest.fixture
def rows() -> None:
    """Create a row of every shown model; the ledgers' directly, as their gateways would commit them."""
    ensure_stock("TEA", 10)
    reserve(key="0198:reserve_stock", order_number="A-1", lines=[Line(sku="TEA", quantity=3)])
    money = {"amount_minor": 1250, "currency": "EUR", "payment_method": "pm_card_refund_fails"}
    payment = Payment.objects.create(key=KEY, order_number="A-1", state="authorized", **money)
    payment.operations.create(kind="authorize", provider_key=KEY)
    held = SandboxAuthorization.objects.create(key=KEY, order_number="A-1", state="held", is_failing=True, **money)
    held.operations.create(key=KEY, kind="authorize", outcome="succeeded")
    address = {"name": "Ada", "line1": "1 Main Street", "city": "Berlin", "postal_code": "10115", "country": "DE"}
    shipment = Shipment.objects.create(key="0198:book_shipment", order_number="A-1", **address)
    shipment.operations.create(kind="book", provider_key=shipment.key)
    booking = SandboxBooking.objects.create(key=shipment.key, order_number="A-1", state="booked", address=address)
    booking.requests.create(key=shipment.key, kind="book", outcome="succeeded")


def log_in(*codenames: str, is_superuser: bool = False) -> Client:
    user = User.objects.create_user("someone", is_staff=True, is_superuser=is_superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[model.objects.get().pk])


def view_everything() -> list[str]:
    return [
        f"view_{model._meta.model_name}" for app in ("inventory", "payments", "shipping") for model in models_of(app)
    ]


def models_of(app_label: str) -> list[type[Model]]:
    return list(apps.get_app_config(app_label).get_models())


def clear(client: Client, **more: str) -> int:
    data = {"action": "clear_failures", "_selected_action": [str(SandboxAuthorization.objects.get().pk)], **more}
    return client.post(list_url(SandboxAuthorization), data).status_code


@pytest.mark.parametrize("model", SHOWN)
@pytest.mark.parametrize("is_superuser", [False, True])
def test_rows_are_read_only(rows: None, model: type[Model], is_superuser: bool) -> None:
    client = log_in(*view_everything(), is_superuser=is_superuser)
    before = model.objects.values().get()

    listing = client.get(list_url(model))
    page = client.get(page_url(model))
    assert (listing.status_code, page.status_code) == (200, 200)
    add_url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
    delete_url = page_url(model).replace("/change/", "/delete/")
    for html in (listing.content.decode(), page.content.decode()):
        assert add_url not in html
        assert delete_url not in html
        assert 'name="_save"' not in html
        assert "delete_selected" not in html

    assert client.get(add_url).status_code == 403
    assert client.post(add_url, {"sku": "NEW"}).status_code == 403
    assert client.post(page_url(model), {"state": "voided"}).status_code == 403
    assert client.post(delete_url, {"post": "yes"}).status_code == 403
    assert model.objects.values().get() == before


@pytest.mark.parametrize("model", SHOWN)
def test_rows_need_a_permission_to_be_seen(rows: None, model: type[Model]) -> None:
    client = log_in()

    assert client.get(list_url(model)).status_code == 403
    assert client.get(page_url(model)).status_code == 403


@pytest.mark.parametrize("model", [Reservation, Payment, SandboxAuthorization, Shipment, SandboxBooking])
def test_rows_are_found_by_order_number_and_key(rows: None, model: type[Model]) -> None:
    client = log_in(is_superuser=True)
    key = model.objects.get().key

    for text in ("A-1", key, key[:6]):
        assert client.get(list_url(model), {"q": text}).context["cl"].result_count == 1
    assert client.get(list_url(model), {"q": "A-2"}).context["cl"].result_count == 0
    assert client.get(list_url(model), {"state__exact": "lost"}).context["cl"].result_count == 0


def test_payment_is_found_by_the_providers_reference_and_links_to_its_saga(rows: None) -> None:
    client, saga_id = log_in(is_superuser=True), "0198f3a2-5c1e-7000-8000-000000000000"
    for page in (list_url(Payment), page_url(Payment)):
        assert "/admin/sagas/saga/0198" not in client.get(page).content.decode()
    Payment.objects.update(authorization_reference="pi_3Nq8", key=f"{saga_id}:authorize_payment")

    for text, count in {"pi_3Nq8": 1, "pi_3": 1, "pi_4": 0}.items():
        assert client.get(list_url(Payment), {"q": text}).context["cl"].result_count == count
    for page in (list_url(Payment), page_url(Payment)):
        assert f'href="{reverse("admin:sagas_saga_change", args=[saga_id])}"' in client.get(page).content.decode()


def test_money_is_shown_with_its_currency(rows: None) -> None:
    client = log_in(is_superuser=True)

    for model in (Payment, SandboxAuthorization):
        assert "12.50 EUR" in client.get(list_url(model)).content.decode()
        assert "12.50 EUR" in client.get(page_url(model)).content.decode()


def test_payment_method_is_shown_in_the_ledger(rows: None) -> None:
    client = log_in(is_superuser=True)

    assert "pm_card_refund_fails" in client.get(list_url(SandboxAuthorization)).content.decode()


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_clear_failure_clears_and_is_logged() -> None:
    authorize_with("pm_card_refund_fails")
    client = log_in("view_sandboxauthorization", "clear_failure")

    assert clear(client) == 302
    assert SandboxAuthorization.objects.get().is_failing is False
    entry = LogEntry.objects.get()
    assert entry.user.username == "someone"
    assert entry.object_repr == KEY
    assert "Cleared the failure" in entry.get_change_message()

    assert clear(client) == 302
    assert LogEntry.objects.count() == 1


def test_clear_failure_needs_its_permission(rows: None) -> None:
    client = log_in("view_sandboxauthorization")

    assert "clear_failures" not in client.get(list_url(SandboxAuthorization)).content.decode()
    clear(client)
    assert SandboxAuthorization.objects.get().is_failing is True
    assert not LogEntry.objects.exists()


def test_clear_failure_never_happens_on_get(rows: None) -> None:
    client = log_in(is_superuser=True)
    pk = SandboxAuthorization.objects.get().pk
    client.get(list_url(SandboxAuthorization), {"action": "clear_failures", "_selected_action": pk})

    assert SandboxAuthorization.objects.get().is_failing is True


def test_clear_failure_needs_a_csrf_token(rows: None) -> None:
    client = log_in(is_superuser=True)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies

    assert clear(strict) == 403
    assert SandboxAuthorization.objects.get().is_failing is True
