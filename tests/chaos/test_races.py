"""F13: workers, sweepers, operators, customers and deadlines race for one saga; exactly one wins."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from config.local.valkey import LocalValkey
from orders import services
from orders.exceptions import CancelTooLate
from orders.models import Order
from orders.requests import Address, CheckoutRequest, LineRequest
from sagas import OperationRefused, clock
from sagas.engine import advance
from sagas.exceptions import StaleRevision
from sagas.models import Saga, SagaHistory
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing import drain, find_violations
from sagas.worker import sweeper
from tests.end_to_end import ledger_audit
from tests.end_to_end.blueprints import ONE_DATABASE, Blueprints
from tests.end_to_end.shops import PATIENCE_SECONDS, Shop, describe_checkout
from tests.participants.side_by_side import run_side_by_side
from tests.processes import Project
from tests.servers import url_of_database

from .settling import wait_until_settled

ROUNDS, FULL_ROUNDS = 25, 1_000
SWEEPS, FULL_SWEEPS = 3, 50
UNITS = 10
CROWD, FULL_CROWD = 60, 1_000
AT_ONCE = 32
REASON = "because the race says so"
# A complete checkout has at most seven attempts.
LAST_PLACE = 7


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_one_of_operator_deadline_and_workers_decides(customer: Any, is_full: bool, tmp_path: Path) -> None:
    ends = race_for_a_decision(customer, FULL_ROUNDS if is_full else ROUNDS, tmp_path)

    # Otherwise there was no race.
    assert set(ends) >= ({"completed", "operator", "deadline"} if is_full else {"completed", "operator"}), ends


def race_for_a_decision(customer: Any, rounds: int, directory: Path) -> Counter[str]:
    """Race two workers, a deadline and an operator, each round at another position of a saga.

    Returns: the winners' counts.
    """
    chance, ends, accepted = random.Random(13), Counter[str](), set()
    for number in range(rounds):
        order = place(customer, chance)
        accepted.add(order.number)
        advance_to(order.saga_id, number % LAST_PLACE)

        results = run_side_by_side(
            chance.sample(
                [
                    lambda saga=order.saga_id: advance.advance(saga),
                    lambda saga=order.saga_id: advance.advance(saga),
                    lambda saga=order.saga_id: pass_deadline(saga),
                    lambda saga=order.saga_id: force_compensate(saga),
                ],
                k=4,
            )
        )

        assert_no_error(results)
        saga = drain(order.saga_id)
        assert find_violations(saga.pk) == []
        ends[judge_decision(saga, results)] += 1
    assert_ledgers_balance(accepted, directory)
    return ends


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_cancel_is_granted_or_too_late(customer: Any, is_full: bool, tmp_path: Path) -> None:
    ends = race_for_the_pivot(customer, FULL_ROUNDS if is_full else ROUNDS, tmp_path)

    assert set(ends) >= ({"cancelled", "too late", "dropped"} if is_full else {"cancelled", "too late"}), ends


def race_for_the_pivot(customer: Any, rounds: int, directory: Path) -> Counter[str]:
    """Race a worker and a cancelling customer around the pivot.

    Returns: the counts of the customer's responses.
    """
    chance, ends, accepted = random.Random(31), Counter[str](), set()
    for number in range(rounds):
        order = place(customer, chance, ("pm_card_visa",))
        accepted.add(order.number)
        # Around the pivot, where it can make a difference.
        advance_to(order.saga_id, 2 + number % 4)

        results = run_side_by_side(
            [
                lambda saga=order.saga_id: advance.advance(saga),
                lambda order=order: services.request_cancel(number=order.number, user=customer),
            ]
        )

        assert_no_error(results, allowed=CancelTooLate)
        saga = drain(order.saga_id)
        assert find_violations(saga.pk) == []
        ends[judge_cancel(saga, results[1])] += 1
    assert_ledgers_balance(accepted, directory)
    return ends


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_sweepers_share_what_is_due(customer: Any, is_full: bool) -> None:
    winners = share_what_is_due(customer, FULL_SWEEPS if is_full else SWEEPS)

    assert len(winners) == 3 or not is_full, winners


def share_what_is_due(customer: Any, rounds: int) -> set[int]:
    """Let three sweepers claim due sagas concurrently.

    Returns: which of them claimed something.
    """
    chance, winners = random.Random(7), set[int]()
    for _ in range(rounds):
        sagas = {place(customer, chance).saga_id for _ in range(30)}

        swept = sweep_side_by_side(3)

        assert Counter(saga for found in swept for saga in found) == Counter(sagas)
        winners |= {number for number, found in enumerate(swept) if found}
        # Exclude them from the next rounds.
        Saga.objects.filter(pk__in=sagas).update(due_at=clock.read_now("default") + timedelta(days=1))
    return winners


def sweep_side_by_side(count: int) -> list[list[UUID]]:
    """Let this number of sweepers claim pages until nothing is due.

    Returns: what each claimed.
    """

    def sweep() -> list[UUID]:
        found: list[UUID] = []
        while page := sweeper.claim_due(limit=4):
            found += [saga.id for saga in page]
        return found

    return run_side_by_side([sweep] * count)


def test_stock_is_not_oversold(blueprints: Blueprints, broker: LocalValkey, tmp_path: Path, is_full: bool) -> None:
    count = FULL_CROWD if is_full else CROWD
    with blueprints.copy(ONE_DATABASE, broker.url, tmp_path) as project:
        stock_up(project, UNITS)
        _, client = project.start_web(threads=16)
        shop = Shop(project=project, brokers=[broker], client=client.log_in("customer", "customer"))
        for name in ("one", "other"):
            shop.start_worker(name, concurrency=2)
        body = describe_checkout("pm_card_visa", sku="KETTLE-COPPER")
        with ThreadPoolExecutor(AT_ONCE) as crowd:
            answers = list(crowd.map(lambda _: shop.client.check_out(body), range(count)))
        numbers = {shop.take(answer) for answer in answers}
        wait_until_settled(project, patience_seconds=PATIENCE_SECONDS + count)

        ends = Counter(row["status"] for row in project.query("SELECT status FROM orders_order"))
        assert (len(numbers), ends) == (count, {"confirmed": UNITS, "cancelled": count - UNITS})
        ledger_audit.assert_ledgers_balance(
            project, shop.accepted, received={**ledger_audit.SEEDED, "KETTLE-COPPER": UNITS}
        )


def test_fifty_requests_with_one_key_place_one_order(quiet_shop: Shop) -> None:
    body, key = describe_checkout("pm_card_visa"), "fifty-at-once"
    with ThreadPoolExecutor(AT_ONCE) as impatient:
        answers = list(impatient.map(lambda _: quiet_shop.client.check_out(body, key=key), range(50)))

    placed = [answer for answer in answers if answer.status == 202]
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.body["number"] for answer in placed}) == 1
    assert sum(answer.headers["Idempotent-Replayed"] is None for answer in placed) == 1
    quiet_shop.start_worker()
    quiet_shop.wait_for(quiet_shop.take(placed[0]), "confirmed")
    quiet_shop.assert_ledgers_balance()


def place(customer: Any, chance: random.Random, methods: tuple[str, ...] = ()) -> Order:
    """Place an order for one item."""
    known = methods or ("pm_card_visa", "pm_card_timeout_once", "pm_card_capture_declined")
    address = Address(name="Ada", line1="1 Harbour Street", line2="", city="Galway", postal_code="H91", country="IE")
    line = LineRequest(sku=chance.choice(("TEA-EARL-GREY", "TEA-SENCHA", "MUG-WHITE")), quantity=1)
    request = CheckoutRequest(lines=(line,), payment_method=chance.choice(known), shipping_address=address)
    return services.place_order(customer=customer, request=request)


def advance_to(saga_id: UUID, attempts: int) -> None:
    """Let a worker make this number of attempts and leave."""
    left = [attempts]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    advance.advance(saga_id, should_stop=should_stop)


def pass_deadline(saga_id: UUID) -> int:
    """Let the deadline pass, and advance the saga as a woken worker does."""
    now = clock.read_now("default")
    Saga.objects.filter(pk=saga_id, closed_at=None).update(deadline_at=now, due_at=now)
    return advance.advance(saga_id)


def force_compensate(saga_id: UUID) -> Any:
    """Force compensation as an operator does on a recent page."""
    revision = Saga.objects.values_list("revision", flat=True).get(pk=saga_id)
    try:
        return operations.force_compensate(
            saga_id, actor=Actor(name="operator", is_trusted=True), reason=REASON, revision=revision
        )
    except (OperationRefused, StaleRevision) as refusal:
        return str(refusal)


def assert_no_error(results: list[Any], allowed: type[Exception] = OperationRefused) -> None:
    """Check that no result is an unexpected error."""
    errors = [result for result in results if isinstance(result, Exception) and not isinstance(result, allowed)]
    assert errors == []


def judge_decision(saga: Saga, results: list[Any]) -> str:
    """Check that the end of a saga is what exactly one of them decided.

    Returns: the winner.
    """
    told = Counter(SagaHistory.objects.filter(saga_id=saga.pk).values_list("what", flat=True))
    has_turned_back = saga.state == "compensated"
    assert (told["saga_turned_back"], told["pivot_passed"]) == (int(has_turned_back), int(not has_turned_back))
    is_granted = any(isinstance(result, operations.OperationResult) for result in results)
    assert has_turned_back or not is_granted
    if not has_turned_back:
        assert saga.cause is None
        return "completed"
    assert isinstance(saga.cause, dict)
    assert is_granted == (told["operator_acted"] == 1)
    return str(saga.cause["kind"])


def judge_cancel(saga: Saga, result: object) -> str:
    """Check that the customer's response matches the end of the order.

    Returns: the response.
    """
    told = set(SagaHistory.objects.filter(saga_id=saga.pk).values_list("what", flat=True))
    if isinstance(result, CancelTooLate):
        assert saga.state == "completed"
        assert "abort_requested" not in told
        return "too late"
    # While the pivot is in progress a request stays pending, and is dropped if the pivot succeeds.
    assert "abort_requested" in told
    assert (saga.state == "completed") == ("abort_dropped" in told)
    return "dropped" if saga.state == "completed" else "cancelled"


def assert_ledgers_balance(accepted: set[str], directory: Path) -> None:
    """Check this process's own databases."""
    aliases = {"DATABASE_URL": "default"} | {
        f"{alias.upper()}_DATABASE_URL": alias for alias in connections if alias != "default"
    }
    urls = {name: url_of_database(connections[alias].settings_dict["NAME"]) for name, alias in aliases.items()}
    ledger_audit.assert_ledgers_balance(Project(environment=urls, directory=directory), accepted)


def stock_up(project: Project, units: int) -> None:
    """Receive this number of copper kettles."""
    code = f"from inventory.services import receive_stock; receive_stock('KETTLE-COPPER', {units - 1})"
    project.manage("shell", "--no-imports", "--command", code)
