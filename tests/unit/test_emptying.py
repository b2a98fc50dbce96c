"""Emptying of databases after a test that commits: the same result as Django's flush."""

from threading import Event, Thread, Timer
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connections, transaction

from benchmarks.generating import Mass, generate
from inventory.services import ensure_stock
from orders.sagas import CheckoutSaga
from sagas.models import SagaHistory
from tests import emptying

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Emptier:
    """Empties the databases of this run, and records each flush."""

    def __init__(self) -> None:
        self.flushed: list[str] = []
        self._emptying = emptying.Emptying(self._flush)

    def empty(self) -> dict[str, set[str]]:
        """Empty all databases.

        Returns: the tables that have rows, by database.
        """
        self._emptying.empty(SimpleNamespace(_databases_names=lambda **_: list(connections)))
        return {alias: set(emptying.read_filled(alias)) for alias in connections}

    def _flush(self, _case: object) -> None:
        for alias in connections:
            call_command("flush", verbosity=0, interactive=False, database=alias, reset_sequences=False)
            self.flushed.append(alias)


@pytest.fixture
def emptier() -> Emptier:
    """Return an emptier that knows the contents of an empty database."""
    emptier = Emptier()
    emptier.empty()
    assert emptier.flushed == list(connections)
    return emptier


def list_granted() -> set[tuple[str, str]]:
    return set(Group.objects.values_list("name", "permissions__codename"))


def test_rows_are_deleted_without_a_flush_and_initial_rows_stay(emptier: Emptier) -> None:
    made, granted = emptier.empty(), list_granted()
    generate(Mass(sagas=3, definitions=[CheckoutSaga]))
    User.objects.create(username="ada").groups.add(Group.objects.get(name="Saga viewers"))
    ensure_stock("TEA", 5)

    assert SagaHistory.objects.exists()
    assert emptier.empty() == made
    assert list_granted() == granted
    assert made["default"] == {"django_content_type", "auth_permission", "auth_group", "auth_group_permissions"}
    assert emptier.flushed == list(connections)


def test_changed_initial_rows_are_restored(emptier: Emptier) -> None:
    made, granted = emptier.empty(), list_granted()
    Group.objects.get(name="Saga viewers").permissions.clear()

    assert emptier.empty() == made
    assert list_granted() == granted
    assert emptier.flushed == list(connections) * 2


def test_grown_tables_are_truncated(emptier: Emptier, monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.create(username="ada")
    monkeypatch.setattr(emptying, "GROWN_BYTES", 0)
    emptier.empty()

    assert not User.objects.exists()
    assert emptier.flushed == list(connections) * 2


def test_emptying_waits_for_open_transactions(emptier: Emptier) -> None:
    is_written, may_commit = Event(), Event()

    def write_late() -> None:
        with transaction.atomic():
            User.objects.create(username="late")
            is_written.set()
            may_commit.wait(30)
        connections.close_all()

    late = Thread(target=write_late)
    late.start()
    assert is_written.wait(30)
    Timer(0.1, may_commit.set).start()
    emptier.empty()
    late.join(30)

    assert not User.objects.exists()
    assert emptier.flushed == list(connections)
