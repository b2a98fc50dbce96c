"""Test kit of events: delivers them without a broker, once, twice or in every order, and lists what was published.

::

    def test_payment_is_remembered_once(db):
        deliver(PaymentCompleted(order_id="ORD-1"), times=2)
        assert published() == [StockReserved(order_id="ORD-1")]

Events must be on: ``SAGAS = {"EVENTS": {"URL": "memory://", "RELAY_ON_COMMIT": False}}``. Nothing is sent. No test
framework is imported; it works inside a ``TestCase`` and with pytest-django.
"""

from .calls import perform_intents
from .delivery import deliver, drain_inbox
from .every_order import Tried, deliver_in_every_order
from .outboxes import assert_nothing_published, published

__all__ = [
    "Tried", "assert_nothing_published", "deliver", "deliver_in_every_order", "drain_inbox", "perform_intents",
    "published",
]  # fmt: skip
