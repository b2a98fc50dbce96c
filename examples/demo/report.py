"""Report of the demo's checkouts: places them, prints a line for each as it ends, compares it with its expected end.

Imported late: Django must be set up before.
"""

import time
from collections.abc import Callable
from typing import Any

from sagas.operators.presentation import transcript

from .checkouts import CHECKOUTS, CUSTOMER, DemoCheckout
from .client import OPEN_STATUSES, ShopClient

# The longest expected ending takes a few seconds; a machine under load may need more.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.2


def place_and_show(shop: ShopClient, supervise: Callable[[], None], *, with_transcripts: bool) -> bool:
    """Place every checkout, then print a line for each as it ends, and optionally its transcript.

    Returns: whether any of them ended other than expected, or not in time.
    """
    customer = shop.log_in(*CUSTOMER)
    open_orders = {order["number"]: checkout for checkout in CHECKOUTS for order in [checkout.place(customer)]}
    has_failed = False
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while open_orders:
        supervise()
        is_late = time.monotonic() > give_up_at
        for number, checkout in list(open_orders.items()):
            order = customer.get_order(number)
            if has_ended(order) or is_late:
                del open_orders[number]
                has_failed |= show_end(checkout, order, with_transcript=with_transcripts)
        time.sleep(POLL_SECONDS)
    return has_failed


def has_ended(order: dict[str, Any]) -> bool:
    """Return whether both the order and its saga have ended: the saga closes a moment later."""
    return order["status"] not in OPEN_STATUSES and order["saga"]["state"] not in {"pending", "running", "compensating"}


def show_end(checkout: DemoCheckout, order: dict[str, Any], *, with_transcript: bool) -> bool:
    """Print the end of one checkout and its differences from the expected one.

    Returns: whether there are any; then the transcript is printed, too.
    """
    differences = checkout.find_differences(order)
    verdict = "NOT as expected" if differences else "as expected"
    print(f"Checkout, {checkout.title}: order {order['number']} is {order['status']}, {verdict}.", flush=True)
    for difference in differences:
        print(f"WRONG  {difference}", flush=True)
    if with_transcript or differences:
        print(f"\n{transcript.render(order['saga']['id']).rstrip()}\n", flush=True)
    return bool(differences)
