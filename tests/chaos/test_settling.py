"""Checks of the chaos runs: every wrong end is reported, and no allowed one."""

import pytest

from .kinds import CANCELLED, CONFIRMED, KINDS, NEEDS_PERSON, Kind
from .settling import find_wrong_ends, list_held_orders

ENDS = (CONFIRMED, CANCELLED, NEEDS_PERSON, "abandoned", "running")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_order_with_an_end_not_allowed_for_its_kind_is_reported(kind: Kind) -> None:
    allowed = {kind.end, CANCELLED, NEEDS_PERSON}
    for end in ENDS:
        told = list(find_wrong_ends({"A": kind}, {"A": end}))

        assert [sentence.startswith(f"order A ({kind.name}) is {end}, not ") for sentence in told] == [True] * (
            end not in allowed
        ), end


def test_lost_order_is_reported() -> None:
    [lost] = find_wrong_ends({"A": KINDS[0], "B": KINDS[0]}, {"B": CONFIRMED})

    assert lost.startswith("order A (works) is lost, not ")
    assert list_held_orders({"A": NEEDS_PERSON, "B": CONFIRMED}) == {"A"}
