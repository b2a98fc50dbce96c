"""Public API for project code: start from async code, find, query and read sagas."""

import asyncio
from dataclasses import FrozenInstanceError, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

import sagas
from sagas import (
    DefinitionNotFound,
    InProgress,
    InputRefused,
    Misconfigured,
    Parallel,
    SagaDefinition,
    SagaError,
    SagaNotFound,
)
from sagas.core.definition import registry
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain

from .world import OPERATOR, REASON, Refused, World, begin, define, work

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@dataclass(frozen=True)
class Seats:
    """Number of seats."""

    count: int


@pytest.fixture
def trip(world: World) -> Any:
    return define(input=Seats, a=world.compensatable(), b=world.compensatable())


def book(trip: Any, /, **keys: str) -> Saga:
    return begin(trip, Seats(2), **keys)


class TestAstart:
    @staticmethod
    def run(*arguments: Any, **options: Any) -> Any:
        """Start from an event loop of its own, and close its connections."""

        async def main() -> Any:
            try:
                return await sagas.astart(*arguments, **options)
            finally:
                await sync_to_async(connections.close_all)()

        return asyncio.run(main())

    def test_saga_is_started_with_every_argument_of_start(self, trip: Any) -> None:
        saga = self.run(trip, Seats(3), business_keys={"trip": "T-1"}, actor="ada")
        found = sagas.summarize(saga)
        assert (found.state, found.input, found.business_keys, found.started_by) == (
            "pending", {"count": 3}, {"trip": "T-1"}, "ada",
        )  # fmt: skip
        assert drain(saga).state == "completed"

    def test_transaction_of_the_caller_is_not_joined(self, trip: Any) -> None:
        with transaction.atomic():
            saga = self.run(trip, Seats(3))
            transaction.set_rollback(True)
        assert Saga.objects.filter(pk=saga.pk).exists()

    def test_refused_input_is_raised_by_the_await(self, trip: Any) -> None:
        with pytest.raises(InputRefused, match="must be a Seats"):
            self.run(trip, 3)
        assert not Saga.objects.exists()

    def test_definition_with_a_caller_step_explains_what_to_do(self, world: World) -> None:
        done = sagas.Compensatable(compensation=sagas.nothing_to_undo)
        trip = define(a=done, b=world.compensatable())
        with pytest.raises(SagaError) as refused:
            self.run(trip)
        assert str(refused.value) == (
            "trip: a has no action, so it is done in the transaction that starts the saga. Do both in a normal"
            " function under transaction.atomic, and await that with sync_to_async."
        )
        assert not Saga.objects.exists()


class TestFind:
    def test_saga_is_found_by_definition_and_key(self, trip: Any) -> None:
        saga, _other = book(trip, trip="7"), book(trip, trip="77")
        for arguments, keys in [
            ((trip,), {"trip": "7"}),
            (("trip",), {"trip": "7"}),
            ((), {"trip": "7"}),
            ((trip,), {"key": {"trip": "7"}}),
            ((trip,), {"key": "7"}),
            ((trip, {"trip": "7"}), {}),
        ]:
            assert sagas.find(*arguments, **keys) == saga

    def test_newest_of_several_is_found(self, trip: Any) -> None:
        book(trip, trip="7")
        newest = book(trip, trip="7")
        assert sagas.find(trip, trip="7") == newest

    def test_all_keys_must_match(self, trip: Any) -> None:
        saga = book(trip, trip="7", customer="ada")
        assert sagas.find(trip, trip="7", customer="ada") == saga
        assert sagas.find(trip, key={"customer": "ada"}, trip="7") == saga
        assert sagas.find(trip, trip="7", customer="eve") is None

    def test_missing_saga_is_none(self, trip: Any, world: World) -> None:
        book(trip, trip="7")
        cruise = define("cruise", a=world.compensatable())
        assert sagas.find(trip, trip="8") is None
        assert sagas.find(trip, customer="7") is None
        assert sagas.find(cruise, trip="7") is None
        assert sagas.find(trip, key="T") is None

    def test_every_version_is_found_even_one_without_code(self, trip: Any, world: World) -> None:
        saga = book(trip, trip="7")
        second = define(version=2, a=world.compensatable())
        assert sagas.find(second, trip="7") == saga
        registry.forget("trip", 1)
        registry.forget("trip", 2)
        assert sagas.find("trip", trip="7") == saga

    def test_find_takes_one_statement(self, trip: Any) -> None:
        book(trip, trip="7")
        with CaptureQueriesContext(connection) as captured:
            sagas.find(trip, trip="7", key={"customer": "ada"})
        assert len(captured) == 1

    def test_masked_key_is_found_by_its_original_value(self, trip: Any) -> None:
        saga = book(trip, card="4111111111111111")
        assert sagas.find(trip, card="4111111111111111") == saga

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            *({"key": key} for key in ({}, 7, "", ["7"], {"trip": "x" * 121})),
            *({"trip": value} for value in (7, "", None, "\x00")),
            {"Trip": "7"},
        ],
        ids=str,
    )
    def test_impossible_key_is_refused(self, trip: Any, arguments: dict[str, Any]) -> None:
        with pytest.raises(InputRefused):
            sagas.find(trip, **arguments)

    @pytest.mark.parametrize("definition", ["tripp", "", 7, Saga], ids=repr)
    def test_unknown_definition_is_refused(self, trip: Any, definition: Any) -> None:
        with pytest.raises(DefinitionNotFound):
            sagas.find(definition, trip="7")


class TestQuery:
    def test_every_argument_filters(self, trip: Any, world: World) -> None:
        cruise = define("cruise", a=world.compensatable())
        done = work(book(trip, trip="1"))
        world.will("a", InProgress(poll_after=3600))
        waiting = work(book(trip, trip="2"))
        world.will("a", Misconfigured("no key"))
        held = work(begin(cruise, trip="2"))

        assert list(sagas.query()) == [held, waiting, done]
        assert list(sagas.query(trip)) == [waiting, done]
        assert list(sagas.query("cruise")) == [held]
        assert list(sagas.query(key={"trip": "2"})) == [held, waiting]
        assert list(sagas.query(trip, key="2")) == [waiting]
        assert list(sagas.query(is_open=True)) == [held, waiting]
        assert list(sagas.query(is_open=False)) == [done]
        assert list(sagas.query(needs_attention=True)) == [held]
        assert list(sagas.query(display_state="waiting_for_answer")) == [waiting]
        assert list(sagas.query(started_since=waiting.created_at)) == [held, waiting]
        assert sagas.query(trip, is_open=True).filter(state="running").count() == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            {"display_state": "lost"},
            {"started_since": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is wrong
            {"started_since": "2026-01-01"},
            {"is_open": "yes"},
            {"key": 7},
        ],
        ids=str,
    )
    def test_impossible_values_are_refused(self, trip: Any, arguments: dict[str, Any]) -> None:
        with pytest.raises(InputRefused):
            sagas.query(trip, **arguments)

    @pytest.mark.parametrize("definition", ["no\x00pe", "\ud800", SagaDefinition])
    def test_impossible_name_is_not_found(self, trip: Any, definition: Any) -> None:
        with pytest.raises(DefinitionNotFound):
            sagas.query(definition)

    def test_query_uses_the_engines_database(self, trip: Any) -> None:
        assert sagas.query(trip).db == "default"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actor": "a\x00"}, "The actor holds a NUL"),
        ({"actor": None}, "The actor must be a string, not NoneType."),
        ({"business_keys": {5: "x"}}, "Business key 5: names are"),
        ({"business_keys": ["x"]}, "Business keys must be a dict of strings by name, not list."),
    ],
)
def test_unstorable_values_start_nothing(world: World, options: Any, message: str) -> None:
    trip = define("short", a=world.compensatable(), b=world.compensatable())
    with pytest.raises(InputRefused, match=f"^{message}"):
        sagas.start(trip, **options)
    assert sagas.start(trip, traceparent=None).traceparent == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["\U0001f600" * 120, "\x01" * 120, '"' * 120])
def test_key_of_any_120_characters_is_found(world: World, value: str) -> None:
    trip = define("short", a=world.compensatable(), b=world.compensatable())
    saga = sagas.start(trip, business_keys={"trip": value})
    assert sagas.find(trip, trip=value) == saga


class TestSummarize:
    def test_summary_has_every_public_field(self, trip: Any, world: World) -> None:
        world.will("b", Refused("fully booked"))
        saga = drain(book(trip, trip="7"))
        found = sagas.summarize(saga)

        assert (found.id, found.definition, found.version, found.state) == (saga.pk, "trip", 1, "compensated")
        assert (found.display_state, found.is_open, found.needs) == ("compensated", False, ())
        assert (found.business_keys, found.input, found.results) == ({"trip": "7"}, {"count": 2}, {"a": {"by": "a"}})
        assert found.cause is not None
        assert (found.cause["kind"], found.cause["step"]) == ("refused", "b")
        assert (found.started_at, found.closed_at, found.revision) == (saga.created_at, saga.closed_at, saga.revision)
        assert [(step.name, step.kind, step.state) for step in found.steps] == [
            ("a", "compensatable", "compensated"), ("b", "compensatable", "refused"),
        ]  # fmt: skip
        step = found.step("a")
        assert (step.action_attempts, step.compensation_attempts, step.result) == (1, 1, {"by": "a"})
        with pytest.raises(KeyError):
            found.step("c")
        with pytest.raises(FrozenInstanceError):
            found.state = "completed"  # type: ignore[misc]

    def test_waiting_and_held_saga_is_summarized_so(self, world: World) -> None:
        world.will("a", InProgress("she thinks", poll_after=3600))
        world.will("b", Misconfigured("no key"))
        group = Parallel(a=world.compensatable(), b=world.compensatable())
        saga = work(world.begin(g=group, deadline=timedelta(hours=5)))
        found = sagas.summarize(str(saga.pk))

        assert (found.display_state, found.is_open, found.needs) == ("held", True, ("misconfigured",))
        assert [(step.display_state, step.hold) for step in found.steps] == [
            ("waiting_for_answer", ""), ("held", "misconfigured"),
        ]  # fmt: skip
        assert found.step("a").due_at is not None
        assert found.deadline_at == saga.deadline_at

    def test_abandoned_saga_lists_its_remaining_effects(self, trip: Any, world: World) -> None:
        world.will("b", InProgress(poll_after=60))
        saga = work(book(trip))
        operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
        assert {left["step"] for left in sagas.summarize(saga.pk).effects_left} == {"a", "b"}

    def test_summary_takes_two_statements_and_no_lock(self, trip: Any) -> None:
        saga = book(trip)
        with CaptureQueriesContext(connection) as captured:
            sagas.summarize(saga.pk)
        assert len(captured) == 2
        assert not any("FOR " in query["sql"] for query in captured.captured_queries)

    @pytest.mark.parametrize("saga", [UUID(int=7), "7", None], ids=repr)
    def test_unknown_saga_is_not_found(self, saga: Any) -> None:
        with pytest.raises(SagaNotFound):
            sagas.summarize(saga)


def test_operations_act_for_the_owner(trip: Any, django_user_model: Any) -> None:
    ada = django_user_model.objects.create_user("ada")
    saga = book(trip, trip="7")
    result = operations.cancel(saga.pk, actor=operations.Actor.of_owner(ada), reason="The customer cancelled.")
    assert (result.state, result.message) == ("compensated", "The saga is asked to turn back.")
    with pytest.raises(sagas.OperationRefused):
        operations.retry_now(saga.pk, actor=operations.Actor.of_user(ada), reason="Once more, please.")
