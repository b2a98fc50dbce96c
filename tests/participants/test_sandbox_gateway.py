import gc
import threading
import warnings

import pytest
from django.db import IntegrityError, connections, router, transaction

from payments.exceptions import GatewayAnswerLost, GatewayConflict, GatewayUnavailable, PaymentKeyReused
from payments.gateways.base import Approved, Authorization
from payments.gateways.sandbox import BEHAVIOURS, SandboxGateway, clear_failure
from payments.models import SandboxAuthorization, SandboxOperation
from sagas.participants import autonomous_transaction

from .gateway_contract import GatewayContract, hold, make_authorization
from .money import ledger

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture
def gateway() -> SandboxGateway:
    return SandboxGateway()


class TestSandboxContract(GatewayContract):
    """Contract tests of the sandbox."""


def test_payment_methods_are_the_documented_ones() -> None:
    assert set(BEHAVIOURS) == {
        "pm_card_visa",
        "pm_card_declined",
        "pm_card_capture_declined",
        "pm_card_timeout_once",
        "pm_card_timeout",
        "pm_card_capture_timeout_once",
        "pm_card_capture_timeout",
        "pm_card_unavailable",
        "pm_card_refund_fails",
    }


def test_same_key_with_another_request_is_refused(gateway: SandboxGateway) -> None:
    authorization = make_authorization()
    gateway.authorize(authorization)
    other = Authorization(**{**vars(authorization), "amount_minor": 1})

    with pytest.raises(PaymentKeyReused):
        gateway.authorize(other)
    with pytest.raises(PaymentKeyReused):
        gateway.capture(key=authorization.key, authorization=authorization)
    assert ledger() == [("authorize", "succeeded", 1, 0)]


def test_one_key_cannot_serve_two_authorizations(gateway: SandboxGateway) -> None:
    first, second = hold(gateway, make_authorization()), hold(gateway, make_authorization())
    gateway.capture(key="capture", authorization=first)

    with pytest.raises(PaymentKeyReused):
        gateway.capture(key="capture", authorization=second)
    assert SandboxAuthorization.objects.get(key=second.key).state == "held"


def test_refund_key_with_another_amount_is_refused(gateway: SandboxGateway) -> None:
    authorization = hold(gateway, make_authorization())
    gateway.capture(key="capture", authorization=authorization)
    gateway.refund(key="refund", authorization=authorization, amount_minor=100)

    with pytest.raises(PaymentKeyReused):
        gateway.refund(key="refund", authorization=authorization, amount_minor=101)
    assert SandboxAuthorization.objects.get().refunded_minor == 100


def test_lost_answers_are_counted(gateway: SandboxGateway) -> None:
    authorization = make_authorization("pm_card_timeout_once")
    with pytest.raises(GatewayAnswerLost):
        gateway.authorize(authorization)

    answer = gateway.authorize(authorization)
    assert answer == Approved(reference=SandboxOperation.objects.get().reference)
    assert ledger() == [("authorize", "succeeded", 2, 1)]


def test_unavailable_provider_stores_nothing(gateway: SandboxGateway) -> None:
    with pytest.raises(GatewayUnavailable):
        gateway.authorize(make_authorization("pm_card_unavailable"))
    assert not SandboxAuthorization.objects.exists()


def test_find_returns_a_capture_that_never_answers(gateway: SandboxGateway) -> None:
    authorization = hold(gateway, make_authorization("pm_card_capture_timeout"))
    for _ in range(2):
        with pytest.raises(GatewayAnswerLost):
            gateway.capture(key="capture", authorization=authorization)

    found = gateway.find(key="capture", authorization=authorization)
    assert found == Approved(reference=SandboxOperation.objects.get(kind="capture").reference)
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 2, 2)]


def test_ledger_commits_independently_of_the_callers_transaction(gateway: SandboxGateway) -> None:
    authorization = make_authorization()
    with transaction.atomic(using=router.db_for_write(SandboxAuthorization)):
        held = hold(gateway, authorization)
        gateway.capture(key="capture", authorization=held)
        transaction.set_rollback(True, using=router.db_for_write(SandboxAuthorization))

    assert SandboxAuthorization.objects.get(key=authorization.key).state == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 0)]


def test_ledger_error_leaves_the_callers_transaction_usable(gateway: SandboxGateway) -> None:
    database = router.db_for_write(SandboxAuthorization)
    with transaction.atomic(using=database):
        with pytest.raises(GatewayConflict):
            gateway.capture(key="capture", authorization=make_authorization())
        assert SandboxAuthorization.objects.using(database).count() == 0
    assert ledger() == []


def test_autonomous_transaction_leaves_no_thread_or_connection(gateway: SandboxGateway) -> None:
    database = router.db_for_write(SandboxAuthorization)
    with transaction.atomic(using=database), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = count_connections(database)
        gateway.authorize(make_authorization())
        gc.collect()
        assert count_connections(database) == before

    # A connection that is dropped without being closed warns when collected.
    assert [str(warning.message) for warning in caught] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("autonomous")] == []


def test_ledger_outside_a_transaction_starts_no_thread(gateway: SandboxGateway, monkeypatch) -> None:
    monkeypatch.setattr(autonomous_transaction, "ThreadPoolExecutor", None)
    gateway.authorize(make_authorization())

    assert ledger() == [("authorize", "succeeded", 1, 0)]
    with transaction.atomic(using=router.db_for_write(SandboxAuthorization)), pytest.raises(TypeError):
        gateway.authorize(make_authorization())


def test_clear_failure_lets_voids_work_again(gateway: SandboxGateway) -> None:
    authorization = hold(gateway, make_authorization("pm_card_refund_fails"))
    with pytest.raises(GatewayUnavailable):
        gateway.void(key="void", authorization=authorization)
    assert SandboxAuthorization.objects.get().state == "held"

    first = clear_failure(key=authorization.key)
    second = clear_failure(key=authorization.key)

    assert (first.is_failing, second.is_failing) == (False, False)
    assert second.failure_cleared_at == first.failure_cleared_at
    gateway.void(key="void", authorization=authorization)
    assert SandboxAuthorization.objects.get().state == "voided"


def test_clear_failure_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(GatewayConflict, match="no authorisation with the key nonsense"):
        clear_failure(key="nonsense")
    assert not SandboxAuthorization.objects.exists()


def test_database_refuses_a_second_capture(gateway: SandboxGateway) -> None:
    authorization = hold(gateway, make_authorization())
    gateway.capture(key="capture", authorization=authorization)
    row = SandboxAuthorization.objects.get()

    with pytest.raises(IntegrityError):
        SandboxOperation.objects.create(authorization=row, key="again", kind="capture", outcome="succeeded")
    with pytest.raises(IntegrityError):
        SandboxOperation.objects.create(authorization=row, key="again", kind="authorize", outcome="succeeded")
    assert SandboxOperation.objects.count() == 2


@pytest.mark.parametrize(
    "changes", [{"state": "lost"}, {"amount_minor": 0}, {"refunded_minor": 1}, {"refunded_minor": -1}]
)
def test_database_refuses_an_inconsistent_ledger_row(gateway: SandboxGateway, changes: dict[str, object]) -> None:
    gateway.authorize(make_authorization())

    with pytest.raises(IntegrityError):
        SandboxAuthorization.objects.update(**changes)
    assert SandboxAuthorization.objects.get().state == "held"


def count_connections(database: str) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return cursor.fetchone()[0]
