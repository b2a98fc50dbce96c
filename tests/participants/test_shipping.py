from dataclasses import replace
from functools import partial

import pytest
from django.db import IntegrityError, router, transaction

from sagas import Fenced
from shipping import intents
from shipping.carriers.base import Refused
from shipping.carriers.sandbox import SandboxCarrier
from shipping.exceptions import AddressNotServed, CarrierAnswerLost, CarrierUnavailable, ShipmentKeyReused
from shipping.models import SandboxBooking, SandboxRequest, Shipment, ShipmentOperation
from shipping.services import Address, Quote, book, cancel, quote

from .side_by_side import count_types, run_side_by_side

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

KEY = "0198:book_shipment"
CANCEL_KEY = "0198:book_shipment:compensate:0"
ADDRESS = Address(name="Ada", line1="1 Main Street", city="Berlin", postal_code="10115", country="DE")


def book_to(postal_code: str = "10115", *, key: str = KEY) -> Shipment:
    return book(key=key, order_number="A-1", address=replace(ADDRESS, postal_code=postal_code))


def ledger() -> list[tuple[str, str, int, int]]:
    """Return the carrier's ledger: kind, outcome, calls, lost answers."""
    return list(SandboxRequest.objects.order_by("pk").values_list("kind", "outcome", "calls", "lost_answers"))


def booked_state() -> str:
    return SandboxBooking.objects.get(key=KEY).state


def shipment_state() -> str:
    return Shipment.objects.get(key=KEY).state


def test_quote_returns_the_price() -> None:
    assert quote(postal_code="10115", country="DE") == Quote(amount_minor=490, currency="EUR", transit_days=3)
    assert ledger() == []


def test_quote_for_an_address_that_is_not_served_is_refused() -> None:
    with pytest.raises(AddressNotServed) as caught:
        quote(postal_code="00000", country="DE")
    assert (caught.value.postal_code, caught.value.country, caught.value.key) == ("00000", "DE", "")


def test_book_called_twice_books_once() -> None:
    first = book_to()
    second = book_to()

    assert second.pk == first.pk
    assert (first.state, second.state) == ("booked", "booked")
    assert second.carrier_reference == f"sandbox_book_{SandboxRequest.objects.get().pk}"
    assert second.address == ADDRESS
    assert ledger() == [("book", "succeeded", 1, 0)]


def test_book_under_a_key_of_another_request_is_refused() -> None:
    book_to()
    with pytest.raises(ShipmentKeyReused):
        book_to("10117")
    with pytest.raises(ShipmentKeyReused):
        book(key=KEY, order_number="A-2", address=ADDRESS)
    assert ledger() == [("book", "succeeded", 1, 0)]


def test_refusal_is_stored_and_answered_again() -> None:
    for _ in range(2):
        with pytest.raises(AddressNotServed) as caught:
            book_to("00000")
        assert (caught.value.postal_code, caught.value.key) == ("00000", KEY)

    assert (shipment_state(), booked_state()) == ("refused", "refused")
    assert ledger() == [("book", "refused", 1, 0)]
    assert cancel(key=KEY, provider_key=CANCEL_KEY).state == "refused"
    assert ledger() == [("book", "refused", 1, 0)]


def test_lost_answer_is_resolved_by_a_repeat() -> None:
    with pytest.raises(CarrierAnswerLost):
        book_to("00001")
    assert (shipment_state(), booked_state()) == ("booking", "booked")

    assert book_to("00001").state == "booked"
    assert book_to("00001").state == "booked"
    assert ledger() == [("book", "succeeded", 2, 1)]


def test_request_without_an_answer_is_ended_by_a_cancel() -> None:
    for _ in range(2):
        with pytest.raises(CarrierAnswerLost):
            book_to("00002")
    assert booked_state() == "booked"

    assert cancel(key=KEY, provider_key=CANCEL_KEY).state == "cancelled"
    assert booked_state() == "cancelled"
    assert ledger() == [("book", "succeeded", 2, 2), ("cancel", "succeeded", 1, 0)]


def test_unavailable_carrier_has_no_effect() -> None:
    with pytest.raises(CarrierUnavailable):
        book_to("00003")

    assert shipment_state() == "unreached"
    operation = ShipmentOperation.objects.get()
    assert (operation.state, operation.calls, operation.unanswered) == ("open", 1, 0)
    assert not SandboxBooking.objects.exists()


def test_cancel_called_twice_cancels_once() -> None:
    book_to()
    first = cancel(key=KEY, provider_key=CANCEL_KEY)
    second = cancel(key=KEY, provider_key=CANCEL_KEY)

    assert (first.state, second.state) == ("cancelled", "cancelled")
    assert booked_state() == "cancelled"
    assert ledger() == [("book", "succeeded", 1, 0), ("cancel", "succeeded", 1, 0)]


def test_lost_answer_to_a_cancel_is_resolved_by_a_repeat() -> None:
    book_to("00004")
    with pytest.raises(CarrierAnswerLost):
        cancel(key=KEY, provider_key=CANCEL_KEY)
    assert (shipment_state(), booked_state()) == ("cancelling", "cancelled")

    assert cancel(key=KEY, provider_key=CANCEL_KEY).state == "cancelled"
    assert ledger() == [("book", "succeeded", 1, 0), ("cancel", "succeeded", 2, 1)]


def test_cancel_of_a_later_epoch_sends_a_new_request() -> None:
    book_to()
    cancel(key=KEY, provider_key=f"{KEY}:compensate:0")

    assert cancel(key=KEY, provider_key=f"{KEY}:compensate:1").state == "cancelled"
    assert ledger() == [("book", "succeeded", 1, 0), ("cancel", "succeeded", 1, 0), ("cancel", "succeeded", 1, 0)]


def test_cancel_before_book_leaves_a_tombstone_and_closes_the_key() -> None:
    tombstone = cancel(key=KEY, provider_key=CANCEL_KEY)
    again = cancel(key=KEY, provider_key=CANCEL_KEY)

    assert tombstone.is_tombstone
    assert tombstone.address is None
    assert again.pk == tombstone.pk
    with pytest.raises(Fenced):
        book_to()
    assert booked_state() == "closed"
    assert ledger() == [("cancel", "succeeded", 1, 0)]


def test_book_after_cancel_is_fenced() -> None:
    book_to()
    cancel(key=KEY, provider_key=CANCEL_KEY)

    with pytest.raises(Fenced):
        book_to()
    assert booked_state() == "cancelled"
    assert ledger() == [("book", "succeeded", 1, 0), ("cancel", "succeeded", 1, 0)]


def test_book_whose_key_the_carrier_closed_is_fenced() -> None:
    cancel(key=KEY, provider_key=CANCEL_KEY)
    # As if the late book had written its intent in a database that never saw the cancel.
    ShipmentOperation.objects.all().delete()
    Shipment.objects.all().delete()

    with pytest.raises(Fenced):
        book_to()
    assert (shipment_state(), booked_state()) == ("unreached", "closed")
    assert ledger() == [("cancel", "succeeded", 1, 0)]


def test_provider_key_of_another_operation_is_refused() -> None:
    book_to()
    with pytest.raises(ShipmentKeyReused):
        cancel(key=KEY, provider_key=KEY)
    assert (shipment_state(), booked_state()) == ("booked", "booked")


@pytest.mark.parametrize("call", [book_to, partial(cancel, key=KEY, provider_key=CANCEL_KEY)])
def test_services_refuse_to_call_the_carrier_inside_a_transaction(call: partial[Shipment]) -> None:
    with transaction.atomic(using=router.db_for_write(Shipment)), pytest.raises(RuntimeError, match="durable"):
        call()

    assert not Shipment.objects.exists()
    assert not SandboxBooking.objects.exists()


@pytest.mark.parametrize(("key", "order_number"), [("", "A-1"), (KEY, "")])
def test_book_checks_its_arguments(key: str, order_number: str) -> None:
    with pytest.raises(ValueError, match="A shipment needs"):
        book(key=key, order_number=order_number, address=ADDRESS)
    assert not Shipment.objects.exists()


def test_ledger_commits_independently_of_the_callers_transaction() -> None:
    with transaction.atomic(using=router.db_for_write(SandboxBooking)):
        SandboxCarrier().book(key=KEY, order_number="A-1", address=ADDRESS)
        transaction.set_rollback(True, using=router.db_for_write(SandboxBooking))

    assert booked_state() == "booked"
    assert ledger() == [("book", "succeeded", 1, 0)]


def test_concurrent_repeats_book_once() -> None:
    results = run_side_by_side([book_to] * 8)

    assert count_types(results) == {"Shipment": 8}
    assert [row[:2] for row in ledger()] == [("book", "succeeded")]


@pytest.mark.parametrize("round_number", range(5))
def test_concurrent_book_and_cancel_book_nothing(round_number: int) -> None:
    results = run_side_by_side([book_to, partial(cancel, key=KEY, provider_key=CANCEL_KEY)])

    assert type(results[0]).__name__ in {"Shipment", "Fenced"}
    assert shipment_state() == "cancelled"
    assert booked_state() in {"cancelled", "closed"}


@pytest.mark.parametrize(
    "changes", [{"state": "lost"}, {"carrier_reference": ""}, {"order_number": ""}, {"country": "de"}, {"key": ""}]
)
def test_database_refuses_an_inconsistent_shipment(changes: dict[str, str]) -> None:
    book_to()
    with pytest.raises(IntegrityError):
        Shipment.objects.update(**changes)
    assert shipment_state() == "booked"


def test_database_refuses_a_second_booking() -> None:
    shipment = book_to()
    with pytest.raises(IntegrityError):
        ShipmentOperation.objects.create(shipment=shipment, kind="book", provider_key="again")
    with pytest.raises(IntegrityError):
        SandboxRequest.objects.create(
            booking=SandboxBooking.objects.get(), key="again", kind="book", outcome="succeeded"
        )
    assert ledger() == [("book", "succeeded", 1, 0)]


def test_definite_answer_is_written_once() -> None:
    book_to()
    operation = ShipmentOperation.objects.get()

    assert intents.record(operation, Refused(code="late")).state == "succeeded"
    intents.withdraw(operation)
    operation.refresh_from_db()
    assert (operation.state, operation.calls, operation.unanswered) == ("succeeded", 1, 0)
    assert shipment_state() == "booked"
