from functools import partial

import pytest

from inventory.exceptions import OutOfStock
from inventory.models import Reservation, StockItem
from inventory.services import Line, ensure_stock, release, reserve

from .side_by_side import count_types, run_side_by_side

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def stock_of(sku: str) -> tuple[int, int, int]:
    item = StockItem.objects.get(sku=sku)
    return item.on_hand, item.reserved, item.shipped


def test_last_unit_is_reserved_by_one_of_twenty() -> None:
    ensure_stock("KETTLE", 1)
    results = run_side_by_side(
        [
            partial(reserve, key=f"{n}:reserve_stock", order_number=f"A-{n}", lines=[Line(sku="KETTLE", quantity=1)])
            for n in range(20)
        ]
    )

    assert count_types(results) == {"Reservation": 1, "OutOfStock": 19}
    assert stock_of("KETTLE") == (0, 1, 0)
    assert Reservation.objects.count() == 1
    refused = next(result for result in results if isinstance(result, OutOfStock))
    assert [(short.asked, short.available) for short in refused.shortages] == [(1, 0)]


def test_one_key_reserves_once_in_twenty_threads() -> None:
    ensure_stock("TEA", 100)
    call = partial(reserve, key="1:reserve_stock", order_number="A-1", lines=[Line(sku="TEA", quantity=3)])
    results = run_side_by_side([call] * 20)

    assert count_types(results) == {"Reservation": 20}
    assert len({result.pk for result in results}) == 1
    assert stock_of("TEA") == (97, 3, 0)


def test_lines_in_opposite_order_do_not_deadlock() -> None:
    ensure_stock("MUG", 100)
    ensure_stock("TEA", 100)
    one_way = [Line(sku="MUG", quantity=1), Line(sku="TEA", quantity=1)]
    results = run_side_by_side(
        [
            partial(reserve, key=f"{n}:reserve_stock", order_number=f"A-{n}", lines=one_way[:: 1 if n % 2 else -1])
            for n in range(16)
        ]
    )

    assert count_types(results) == {"Reservation": 16}
    assert stock_of("MUG") == stock_of("TEA") == (84, 16, 0)


@pytest.mark.parametrize("round_number", range(5))
def test_concurrent_reserve_and_release_leave_nothing_reserved(round_number: int) -> None:
    ensure_stock("TEA", 10)
    results = run_side_by_side(
        [
            partial(reserve, key="1:reserve_stock", order_number="A-1", lines=[Line(sku="TEA", quantity=3)]),
            partial(release, key="1:reserve_stock"),
        ]
    )

    assert type(results[0]).__name__ in {"Reservation", "Fenced"}
    assert Reservation.objects.get().state == "released"
    assert stock_of("TEA") == (10, 0, 0)


def test_concurrent_releases_give_back_once() -> None:
    ensure_stock("TEA", 10)
    reserve(key="1:reserve_stock", order_number="A-1", lines=[Line(sku="TEA", quantity=3)])
    results = run_side_by_side([partial(release, key="1:reserve_stock")] * 8)

    assert count_types(results) == {"Reservation": 8}
    assert stock_of("TEA") == (10, 0, 0)
