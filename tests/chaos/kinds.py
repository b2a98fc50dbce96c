"""Kinds of checkouts placed under chaos, and how each may end."""

import random
from dataclasses import dataclass
from typing import Any

from sagas.core.states import Coordination
from tests.end_to_end.shops import describe_checkout

CONFIRMED, CANCELLED, NEEDS_PERSON = "confirmed", "cancelled", "needs a person"
WORKS = "works"
# For any kind: a budget was spent on dead workers, or a pivot's outcome was not known in time.
SPENT = frozenset({CANCELLED, NEEDS_PERSON})
NOT_SERVED = "00000"
# This share of checkouts that succeed without faults must succeed under chaos: faults are shorter than budgets.
CONFIRMED_AT_LEAST = 0.9


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of checkout.

    name: for the report. weight: relative frequency. end: its end without faults.
    """

    name: str
    weight: int
    end: str
    payment_method: str = "pm_card_visa"
    sku: str = ""
    postal_code: str = "H91 E2V4"

    @property
    def allowed_ends(self) -> frozenset[str]:
        """Return how it may end under faults: never better than without."""
        return frozenset({self.end}) | SPENT

    def describe(
        self, chance: random.Random, coordination: Coordination = Coordination.ORCHESTRATION
    ) -> dict[str, Any]:
        """Return the body of such a checkout."""
        sku = self.sku or chance.choice(("TEA-EARL-GREY", "TEA-SENCHA", "MUG-WHITE"))
        body = describe_checkout(self.payment_method, sku=sku, postal_code=self.postal_code)
        return {**body, "coordination": coordination.value}


KINDS = (
    Kind(name=WORKS, weight=40, end=CONFIRMED),
    Kind(name="one answer lost", weight=8, end=CONFIRMED, payment_method="pm_card_timeout_once"),
    Kind(name="one capture's answer lost", weight=8, end=CONFIRMED, payment_method="pm_card_capture_timeout_once"),
    Kind(name="declined", weight=8, end=CANCELLED, payment_method="pm_card_declined"),
    Kind(name="capture declined", weight=8, end=CANCELLED, payment_method="pm_card_capture_declined"),
    Kind(name="no answer ever", weight=3, end=CANCELLED, payment_method="pm_card_timeout"),
    Kind(name="gateway down", weight=3, end=CANCELLED, payment_method="pm_card_unavailable"),
    Kind(name="out of stock", weight=8, end=CANCELLED, sku="SCONE-SOLD-OUT"),
    Kind(name="last one", weight=2, end=CONFIRMED, sku="KETTLE-COPPER"),
    Kind(name="address not served", weight=8, end=CANCELLED, postal_code=NOT_SERVED),
    Kind(name="capture never answered", weight=2, end=NEEDS_PERSON, payment_method="pm_card_capture_timeout"),
    Kind(name="void fails", weight=2, end=NEEDS_PERSON, payment_method="pm_card_refund_fails", postal_code=NOT_SERVED),
)


def choose_kinds(count: int, chance: random.Random) -> list[Kind]:
    """Choose kinds by weight."""
    return chance.choices(KINDS, [kind.weight for kind in KINDS], k=count)
