"""The judges of chaos can convict: every wrong end is told, and none of those that are allowed."""

import pytest

from .kinds import CANCELLED, CONFIRMED, KINDS, NEEDS_PERSON, Kind
from .settling import find_wrong_ends, list_with_a_person

ENDS = (CONFIRMED, CANCELLED, NEEDS_PERSON, "abandoned", "running")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_order_that_ended_as_none_of_its_kind_may_is_told(kind: Kind) -> None:
    allowed = {kind.end, CANCELLED, NEEDS_PERSON}
    for end in ENDS:
        told = list(find_wrong_ends({"A": kind}, {"A": end}))

        assert [sentence.startswith(f"order A ({kind.name}) is {end}, not ") for sentence in told] == [True] * (
            end not in allowed
        ), end


def test_order_that_nobody_has_any_more_is_told() -> None:
    [lost] = find_wrong_ends({"A": KINDS[0], "B": KINDS[0]}, {"B": CONFIRMED})

    assert lost.startswith("order A (works) is lost, not ")
    assert list_with_a_person({"A": NEEDS_PERSON, "B": CONFIRMED}) == {"A"}
