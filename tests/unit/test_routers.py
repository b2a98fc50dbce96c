"""Database router: each participant in its own database if it has one, else in the main one."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from config import routers
from config.routers import ParticipantRouter
from inventory.models import StockItem
from payments.models import Payment
from sagas.models import EventConsumer, EventStream, InboxEvent, InboxKey, OutboxEvent, Saga, SagaBarrier
from sagas.participants.tables import PARTICIPANT_MODELS, is_participant_table

ROUTER = ParticipantRouter()


@pytest.fixture
def two_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give payments, and no other app, a database of its own."""
    monkeypatch.setattr(routers, "settings", SimpleNamespace(DATABASES={"default": {}, "payments": {}}))


@pytest.mark.usefixtures("two_databases")
def test_participant_uses_its_own_database_for_reading_and_writing() -> None:
    assert ROUTER.db_for_read(Payment) == ROUTER.db_for_write(Payment) == "payments"
    assert ROUTER.db_for_write(StockItem) == "default"
    assert ROUTER.db_for_write(Saga) == "default"


def test_participant_without_a_database_uses_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "settings", SimpleNamespace(DATABASES={"default": {}}))

    assert ROUTER.db_for_write(Payment) == "default"
    assert ROUTER.allow_migrate("default", "payments", "payment") is True


@pytest.mark.usefixtures("two_databases")
@pytest.mark.parametrize(
    ("database", "app_label", "model_name", "expected"),
    [
        ("default", "sagas", "saga", True),
        ("default", "sagas", "sagabarrier", True),
        ("default", "sagas", None, True),
        ("default", "orders", "order", True),
        ("default", "auth", "user", True),
        ("default", "inventory", "stockitem", True),
        ("default", "payments", "payment", False),
        ("payments", "payments", "payment", True),
        ("payments", "payments", None, True),
        ("payments", "sagas", "sagabarrier", True),
        ("payments", "sagas", "outboxevent", True),
        ("payments", "sagas", "inboxevent", True),
        ("default", "sagas", "outboxevent", True),
        ("payments", "inventory", "outboxevent", False),
        ("payments", "sagas", "saga", False),
        ("payments", "sagas", None, False),
        ("payments", "inventory", "stockitem", False),
        ("payments", "auth", "user", False),
    ],
)
def test_tables_are_created_where_they_belong(
    database: str, app_label: str, model_name: str | None, expected: bool
) -> None:
    assert ROUTER.allow_migrate(database, app_label, model_name) is expected


@pytest.mark.usefixtures("two_databases")
def test_relations_stay_inside_one_database() -> None:
    user: Any = get_user_model()()

    assert ROUTER.allow_relation(Payment(), Payment()) is True
    assert ROUTER.allow_relation(Payment(), user) is False
    assert ROUTER.allow_relation(StockItem(), user) is True


def test_router_knows_participants_tables_by_their_model_names() -> None:
    models = (SagaBarrier, EventStream, OutboxEvent, InboxEvent, InboxKey, EventConsumer)
    assert {model._meta.model_name for model in models} <= PARTICIPANT_MODELS
    assert all(is_participant_table(model._meta.app_label, model._meta.model_name) for model in models)
    assert not is_participant_table(Saga._meta.app_label, Saga._meta.model_name)
    assert not is_participant_table("sagas", None)
    assert not is_participant_table("inventory", "outboxevent")
