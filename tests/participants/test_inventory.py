import pytest
from django.db import IntegrityError, router, transaction

from inventory.exceptions import (
    OutOfStock,
    ReservationKeyReused,
    ReservationNotFound,
    ReservationReleased,
    ReservationShipped,
    Shortage,
)
from inventory.models import Reservation, ReservationLine, ReservationState, StockItem
from inventory.services import Line, availability, ensure_stock, receive_stock, release, reserve, ship
from sagas import Fenced

pytestmark = pytest.mark.django_db(databases="__all__")

KEY = "0198:reserve_stock"


def stock_of(sku: str) -> tuple[int, int, int, int]:
    """Return the units on hand, reserved, shipped and received."""
    item = StockItem.objects.get(sku=sku)
    return item.on_hand, item.reserved, item.shipped, item.received


def reserve_tea(quantity: int = 3, key: str = KEY) -> Reservation:
    return reserve(key=key, order_number="A-1", lines=[Line(sku="TEA", quantity=quantity)])


@pytest.fixture(autouse=True)
def stock() -> None:
    ensure_stock("TEA", 10)
    ensure_stock("MUG", 5)


def test_reserve_moves_units_from_hand_to_reserved() -> None:
    reservation = reserve(key=KEY, order_number="A-1", lines=[Line(sku="TEA", quantity=3), Line(sku="MUG", quantity=5)])

    assert reservation.state == ReservationState.RESERVED
    assert reservation.order_number == "A-1"
    assert list(reservation.lines.values_list("sku", "quantity")) == [("MUG", 5), ("TEA", 3)]
    assert stock_of("TEA") == (7, 3, 0, 10)
    assert stock_of("MUG") == (0, 5, 0, 5)


def test_reserve_called_twice_returns_the_first_reservation() -> None:
    first = reserve_tea()
    second = reserve_tea()

    assert second.pk == first.pk
    assert stock_of("TEA") == (7, 3, 0, 10)
    assert Reservation.objects.count() == 1


def test_reserve_sums_lines_of_one_sku() -> None:
    lines = [Line(sku="TEA", quantity=2), Line(sku="TEA", quantity=4)]
    reservation = reserve(key=KEY, order_number="A-1", lines=lines)

    assert list(reservation.lines.values_list("sku", "quantity")) == [("TEA", 6)]
    assert stock_of("TEA") == (4, 6, 0, 10)


def test_reserve_refused_names_every_short_sku_and_takes_nothing() -> None:
    lines = [Line(sku="MUG", quantity=6), Line(sku="NONE", quantity=1), Line(sku="TEA", quantity=3)]
    with pytest.raises(OutOfStock) as caught:
        reserve(key=KEY, order_number="A-1", lines=lines)

    assert caught.value.shortages == (
        Shortage(sku="MUG", asked=6, available=5),
        Shortage(sku="NONE", asked=1, available=0),
    )
    assert caught.value.key == KEY
    assert "MUG: requested 6, available 5" in str(caught.value)
    assert stock_of("TEA") == (10, 0, 0, 10)
    assert stock_of("MUG") == (5, 0, 0, 5)
    assert not Reservation.objects.exists()


def test_reserve_refused_leaves_the_callers_transaction_usable() -> None:
    with transaction.atomic(using=router.db_for_write(StockItem)):
        with pytest.raises(OutOfStock):
            reserve_tea(11)
        receive_stock("TEA", 1)
        reserve_tea(11)

    assert stock_of("TEA") == (0, 11, 0, 11)


def test_reserve_under_a_key_of_another_request_is_refused() -> None:
    reserve_tea(3)

    with pytest.raises(ReservationKeyReused):
        reserve_tea(4)
    with pytest.raises(ReservationKeyReused):
        reserve(key=KEY, order_number="A-2", lines=[Line(sku="TEA", quantity=3)])
    assert stock_of("TEA") == (7, 3, 0, 10)


@pytest.mark.parametrize(
    ("key", "order_number", "lines"),
    [("", "A-1", [Line(sku="TEA", quantity=1)]), (KEY, "", [Line(sku="TEA", quantity=1)]), (KEY, "A-1", [])],
)
def test_reserve_without_key_order_or_lines_is_an_error(key: str, order_number: str, lines: list[Line]) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        reserve(key=key, order_number=order_number, lines=lines)
    assert not Reservation.objects.exists()


@pytest.mark.parametrize("quantity", [0, -1, True, 1.5, "2"])
def test_line_accepts_only_positive_integers(quantity: object) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Line(sku="TEA", quantity=quantity)  # type: ignore[arg-type]


def test_release_gives_units_back() -> None:
    reserve_tea()
    reservation = release(key=KEY)

    assert reservation.state == ReservationState.RELEASED
    assert reservation.released_at is not None
    assert not reservation.is_tombstone
    assert stock_of("TEA") == (10, 0, 0, 10)


def test_release_called_twice_gives_back_once() -> None:
    reserve_tea()
    first = release(key=KEY)
    second = release(key=KEY)

    assert second.pk == first.pk
    assert second.released_at == first.released_at
    assert stock_of("TEA") == (10, 0, 0, 10)


def test_release_before_reserve_leaves_a_tombstone_that_fences() -> None:
    tombstone = release(key=KEY)
    again = release(key=KEY)

    assert tombstone.is_tombstone
    assert again.pk == tombstone.pk
    with pytest.raises(Fenced):
        reserve_tea()
    assert Reservation.objects.get(key=KEY).pk == tombstone.pk
    assert not ReservationLine.objects.exists()
    assert stock_of("TEA") == (10, 0, 0, 10)


def test_reserve_after_release_is_fenced() -> None:
    reserve_tea()
    release(key=KEY)

    with pytest.raises(Fenced):
        reserve_tea()
    assert stock_of("TEA") == (10, 0, 0, 10)


def test_ship_moves_reserved_to_shipped_once() -> None:
    reserve_tea()
    first = ship(key=KEY)
    second = ship(key=KEY)

    assert first.state == second.state == ReservationState.SHIPPED
    assert second.shipped_at == first.shipped_at
    assert stock_of("TEA") == (7, 0, 3, 10)


def test_reserve_repeated_after_ship_returns_the_shipped_reservation() -> None:
    reserve_tea()
    ship(key=KEY)

    assert reserve_tea().state == ReservationState.SHIPPED
    assert stock_of("TEA") == (7, 0, 3, 10)


def test_release_of_a_shipped_reservation_is_refused() -> None:
    reserve_tea()
    ship(key=KEY)

    with pytest.raises(ReservationShipped) as caught:
        release(key=KEY)
    assert caught.value.key == KEY
    assert stock_of("TEA") == (7, 0, 3, 10)
    assert Reservation.objects.get(key=KEY).state == ReservationState.SHIPPED


def test_ship_of_a_released_reservation_is_refused() -> None:
    reserve_tea()
    release(key=KEY)

    with pytest.raises(ReservationReleased):
        ship(key=KEY)
    assert stock_of("TEA") == (10, 0, 0, 10)


def test_ship_without_reservation_is_refused() -> None:
    with pytest.raises(ReservationNotFound):
        ship(key=KEY)
    assert not Reservation.objects.exists()


def test_services_join_the_callers_transaction() -> None:
    with transaction.atomic(using=router.db_for_write(StockItem)):
        reserve_tea()
        transaction.set_rollback(True, using=router.db_for_write(StockItem))

    assert stock_of("TEA") == (10, 0, 0, 10)
    assert not Reservation.objects.exists()


def test_receive_stock_adds_to_hand_and_creates_a_new_sku() -> None:
    receive_stock("TEA", 4)
    receive_stock("KETTLE", 1)

    assert stock_of("TEA") == (14, 0, 0, 14)
    assert stock_of("KETTLE") == (1, 0, 0, 1)
    with pytest.raises(ValueError, match="at least 1"):
        receive_stock("TEA", 0)


def test_ensure_stock_does_not_change_an_existing_sku() -> None:
    reserve_tea()
    item = ensure_stock("TEA", 99)

    assert item.on_hand == 7
    assert stock_of("TEA") == (7, 3, 0, 10)


def test_availability_answers_for_every_asked_sku() -> None:
    reserve_tea()

    assert availability(["TEA", "NONE", "MUG", "TEA"]) == {"TEA": 7, "NONE": 0, "MUG": 5}
    assert availability([]) == {}


def test_reserve_costs_four_statements_and_one_per_sku(django_assert_num_queries) -> None:
    # savepoint, insert, lock, one update per SKU, lines, release of the savepoint
    with django_assert_num_queries(7, using=router.db_for_write(StockItem)):
        reserve(key=KEY, order_number="A-1", lines=[Line(sku="TEA", quantity=3), Line(sku="MUG", quantity=1)])


@pytest.mark.parametrize(
    "changes",
    [
        {"on_hand": -1, "reserved": 11},
        {"on_hand": 11, "reserved": -1},
        {"on_hand": 11, "shipped": -1},
        {"on_hand": 9},
        {"reserved": 1},
        {"received": 11},
    ],
)
def test_database_refuses_inconsistent_stock(changes: dict[str, int]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using=router.db_for_write(StockItem)):
        StockItem.objects.filter(sku="TEA").update(**changes)
    assert stock_of("TEA") == (10, 0, 0, 10)


@pytest.mark.parametrize(
    "changes", [{"state": "released"}, {"state": "shipped"}, {"state": "lost"}, {"order_number": ""}, {"key": ""}]
)
def test_database_refuses_an_inconsistent_reservation(changes: dict[str, str]) -> None:
    reserve_tea()
    with pytest.raises(IntegrityError), transaction.atomic(using=router.db_for_write(StockItem)):
        Reservation.objects.filter(key=KEY).update(**changes)
    assert Reservation.objects.get(key=KEY).state == ReservationState.RESERVED


def test_database_refuses_a_second_reservation_of_a_key() -> None:
    reserve_tea()
    with pytest.raises(IntegrityError), transaction.atomic(using=router.db_for_write(StockItem)):
        Reservation.objects.create(key=KEY, order_number="A-2")
    assert Reservation.objects.count() == 1
