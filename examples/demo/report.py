"""Report of the demo's checkouts: places them, prints a line for each as it ends, compares it with its expected end.

Imported late: Django must be set up before.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from django.urls import reverse

from sagas import clock
from sagas.conf import get_settings
from sagas.events import catalogue
from sagas.events.settings import get_event_settings
from sagas.models import Saga
from sagas.operators.presentation import transcript
from sagas.operators.presentation.debts import describe_debts

from .checkouts import BY_EVENTS, COMMANDED, CUSTOMER, WORKS_BY_EVENTS, DemoCheckout
from .client import ShopClient

# The longest expected ending takes a few seconds; a machine under load may need more.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.2


class OwedCheckout(DemoCheckout):
    """Checkout by events to which a participant that does not run here owes an event, unless a stranger sends it."""

    def has_arrived(self, order: dict[str, Any]) -> bool:
        """Return whether an event is owed by a participant that does not run here, or the checkout has ended."""
        return self._is_owed(order) or super().has_arrived(order)

    def find_differences(self, order: dict[str, Any]) -> list[str]:
        """Compare the end with the expected one, unless an event is owed."""
        return [] if self._is_owed(order) else super().find_differences(order)

    def _is_owed(self, order: dict[str, Any]) -> bool:
        return any(debt["by"] in list_left_out() for debt in read_saga(order).owed)


def place_and_show(shop: ShopClient, supervise: Callable[[], None], *, with_transcripts: bool) -> bool:
    """Place every checkout, then print a line for each as it ends, and optionally its transcript.

    Returns: whether any of them ended other than expected, or not in time.
    """
    customer = shop.log_in(*CUSTOMER)
    open_orders = {order["number"]: checkout for checkout in list_checkouts() for order in [checkout.place(customer)]}
    has_failed = False
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while open_orders:
        supervise()
        is_late = time.monotonic() > give_up_at
        for number, checkout in list(open_orders.items()):
            order = customer.get_order(number)
            if checkout.has_arrived(order) or is_late:
                del open_orders[number]
                has_failed |= show_end(shop, checkout, order, with_transcript=with_transcripts)
        time.sleep(POLL_SECONDS)
    return has_failed


def list_checkouts() -> Sequence[DemoCheckout]:
    """Return the checkouts of this installation.

    Without events none goes by events; where a participant's consumer is left out, only one, which waits for it.
    """
    if not get_event_settings().are_on:
        return COMMANDED
    if list_left_out():
        return (*COMMANDED, OwedCheckout(**{**vars(WORKS_BY_EVENTS), "title": "a participant is left out"}))
    return (*COMMANDED, *BY_EVENTS)


def list_left_out() -> set[str]:
    """Return the participants whose consumers do not run here."""
    return set(catalogue.list_consumers()) - set(catalogue.list_local_consumers())


def read_saga(order: dict[str, Any]) -> Saga:
    """Return the saga of an order."""
    return Saga.objects.using(get_settings().database).get(pk=order["saga"]["id"])


def show_end(shop: ShopClient, checkout: DemoCheckout, order: dict[str, Any], *, with_transcript: bool) -> bool:
    """Print the end of one checkout, its page in the console, and its differences from the expected end.

    Returns: whether there are any; then the transcript is printed, too.
    """
    differences = checkout.find_differences(order)
    verdict = "NOT as expected" if differences else "as expected"
    print(f"{checkout.style}, {checkout.title}: order {order['number']} is {order['status']}, {verdict}.", flush=True)
    saga = read_saga(order)
    if saga.owed:
        print(f"  {describe_debts(saga, clock.read_now(get_settings().database))}")
    print(f"  {shop.url}{reverse('admin:sagas_saga_change', args=[saga.pk])}", flush=True)
    for difference in differences:
        print(f"WRONG  {difference}", flush=True)
    if with_transcript or differences:
        print(f"\n{transcript.render(order['saga']['id']).rstrip()}\n", flush=True)
    return bool(differences)
