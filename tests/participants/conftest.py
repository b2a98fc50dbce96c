"""Order and fake Stripe; tests of optional packages that are not installed are skipped."""

from collections.abc import Iterator
from importlib.util import find_spec
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from orders.models import Order, OrderLine

from .stripe_fake import FakeStripe, serve_stripe

collect_ignore = [] if find_spec("stripe") else ["test_stripe_gateway.py"]


@pytest.fixture
def served() -> Iterator[tuple[FakeStripe, str]]:
    with serve_stripe() as served:
        yield served


@pytest.fixture
def stripe_books(served: tuple[FakeStripe, str]) -> FakeStripe:
    return served[0]


@pytest.fixture
def order() -> Order:
    owner = User.objects.create(username="ada")
    placed = Order.objects.create(
        number="ORD-7Q", owner=owner, total_minor=790, currency="EUR", saga_id=uuid4(), payment_method="pm_card_visa",
        ship_to_name="<script>alert(1)</script>", ship_to_line1="Tea Lane 1", ship_to_city="Bath",
        ship_to_postal_code="BA1", ship_to_country="GB",
    )  # fmt: skip
    OrderLine.objects.create(order=placed, position=0, sku="TEA-1", name="Tea", unit_price_minor=790, quantity=1)
    return placed
