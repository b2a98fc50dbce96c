"""Intents: performed by the engine's own claims and records, once whatever is lost; their end is told by events."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from sagas import Misconfigured, OutcomeUnknown, RetryLater, RetryPolicy, StepContext, clock, tasks
from sagas.core import outcomes
from sagas.engine import claim, late_answers
from sagas.engine.execute import ClaimedStep
from sagas.events import EventRefused, catalogue, publish
from sagas.intents import Ended, Intent, declaration, performing
from sagas.models import Intent as Row
from sagas.models import IntentAttempt, IntentHistory
from sagas.models.bulk import new_bulk_id
from sagas.models.saga import new_saga_id
from sagas.operators.bulk import runner
from sagas.testing.events import perform_intents
from sagas.transactions import own_transaction

from . import world
from .world import Behaviour, Noticed

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Declined(Exception):
    pass


@dataclass(frozen=True, kw_only=True)
class ChargeInput:
    order: str


class Provider:
    """What the other side does, and what it was asked."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.answers: list[Any] = []
        self.ended: list[tuple[str, Ended]] = []
        self.fails_after: BaseException | None = None

    def call(self, step: StepContext[ChargeInput]) -> dict[str, Any]:
        self.keys.append(step.key)
        answer = self.answers.pop(0) if self.answers else {"reference": "ch_1"}
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    def succeed(self, ended: Ended) -> None:
        self.ended.append(("success", ended))
        if self.fails_after:
            raise self.fails_after
        publish(Noticed(text=f"charged {ended.key}"))

    def refuse(self, ended: Ended) -> None:
        self.ended.append(("refusal", ended))
        publish(Noticed(text=f"declined {ended.key}"))


@pytest.fixture
def provider(flow: Behaviour) -> Iterator[Provider]:
    """Declare an intent of payments that calls a provider of this test."""
    provider = Provider()
    yield provider
    for name in ("payments.charge_test", "payments.refund_test"):
        declaration.forget(name)


def declare(provider: Provider, **options: Any) -> Intent:
    """Declare an intent that may be refused."""
    given: dict[str, Any] = {
        "on_refusal": provider.refuse, "refuses_on": [Declined],
        "retry": RetryPolicy(attempts=3, base=1, cap=1, factor=1), **options,
    }  # fmt: skip
    return Intent(
        "charge_test", call=provider.call, participant=world.SENDER, input=ChargeInput,
        on_success=provider.succeed, **given,
    )  # fmt: skip


def ask(intent: Intent) -> uuid.UUID:
    """Write an intent as a handler does."""
    with transaction.atomic(using=alias()):
        return intent.request("ORD-1", ChargeInput(order="ORD-1"), correlation_id="flow-1")


def alias() -> str:
    return catalogue.database_of(world.SENDER)


def row() -> Row:
    return Row.objects.using(alias()).get()


def published() -> list[str]:
    return [event.data["text"] for event in world.outbox()]


def run(rounds: int = 6) -> None:
    """Perform what is due, and let back-offs pass."""
    for _ in range(rounds):
        performing.perform_due()
        clock.move(timedelta(seconds=40))


def test_success_is_recorded_with_its_event(provider: Provider) -> None:
    wanted = ask(declare(provider))
    assert performing.perform(wanted) == 1
    found = row()
    assert (found.state, found.step_state, found.step_result) == ("completed", "succeeded", {"reference": "ch_1"})
    assert provider.keys == [f"{wanted}:charge_test"]
    assert published() == ["charged ORD-1"]
    assert [(event.correlation_id) for event in world.outbox()] == ["flow-1"]
    assert [attempt.outcome for attempt in IntentAttempt.objects.using(alias())] == ["succeeded"]
    assert [entry.what for entry in IntentHistory.objects.using(alias())][-1] == "saga_completed"


def test_wake_up_performs_it_and_nothing_else(provider: Provider) -> None:
    wanted = ask(declare(provider))
    tasks.advance.work_on(wanted, frozenset({"sagas"}))
    assert (row().state, provider.keys) == ("completed", [f"{wanted}:charge_test"])
    kinds = [performing.is_intent_id, runner.is_bulk_id]
    assert [[is_kind(new) for is_kind in kinds] for new in (wanted, new_bulk_id(), new_saga_id())] == [
        [True, False], [False, True], [False, False],
    ]  # fmt: skip


def test_refusal_is_recorded_with_its_event(provider: Provider) -> None:
    provider.answers = [Declined("no money")]
    ask(declare(provider))
    run()
    assert (row().state, row().step_state, published()) == ("compensated", "refused", ["declined ORD-1"])
    [(what, ended)] = provider.ended
    assert (what, ended.reason, ended.error_class.endswith("Declined")) == ("refusal", "no money", True)


def test_lost_answer_is_asked_again_under_the_same_key(provider: Provider) -> None:
    provider.answers = [OutcomeUnknown("timed out"), {"reference": "ch_1"}]
    wanted = ask(declare(provider))
    run()
    assert provider.keys == [f"{wanted}:charge_test"] * 2
    assert (row().state, published()) == ("completed", ["charged ORD-1"])


def test_spent_budget_without_effect_is_a_refusal(provider: Provider) -> None:
    provider.answers = [RetryLater("down")] * 9
    ask(declare(provider))
    run(8)
    assert len(provider.keys) == 3
    assert (row().state, published()) == ("compensated", ["declined ORD-1"])


def test_unknown_outcome_is_held_and_says_nothing(provider: Provider) -> None:
    provider.answers = [OutcomeUnknown("timed out")] * 9
    ask(declare(provider))
    run(8)
    found = row()
    assert (found.state, found.step_hold, found.due_at, published()) == ("running", "outcome_unknown", None, [])


def test_call_that_must_succeed_is_retried_for_ever(provider: Provider) -> None:
    provider.answers = [RetryLater("down")] * 9
    ask(declare(provider, on_refusal=None))
    run(20)
    assert (row().state, published()) == ("completed", ["charged ORD-1"])
    assert len(provider.keys) == 10


def test_refusal_of_a_call_that_must_succeed_is_held(provider: Provider) -> None:
    provider.answers = [Declined("impossible")]
    ask(declare(provider, on_refusal=None))
    run()
    assert (row().step_hold, published()) == ("contract_violation", [])


def test_misconfigured_call_is_held(provider: Provider) -> None:
    provider.answers = [Misconfigured("no key")]
    ask(declare(provider))
    run()
    assert (row().step_hold, published(), len(provider.keys)) == ("misconfigured", [], 1)


def test_failing_function_after_a_success_holds_and_publishes_nothing(provider: Provider) -> None:
    provider.fails_after = ValueError("bug")
    ask(declare(provider))
    run()
    found = row()
    assert (found.step_hold, published()) == ("misconfigured", [])
    assert "ValueError: bug" in found.step_last_error


def test_late_success_after_a_refusal_tells_its_event(provider: Provider) -> None:
    wanted = ask(declare(provider, refusal_settles=True))
    kept: list[ClaimedStep] = []
    provider.answers = [Declined("no money")]
    rows = performing.IntentRows(alias())
    with own_transaction(alias(), durable=True):
        work = rows.lock(wanted)
        following = claim.claim_next(work, queues=None, worker="frozen", may_claim=True)
        work.write()
    assert following.claimed is not None
    kept.append(following.claimed)
    clock.move(timedelta(minutes=5))
    run()
    assert published() == ["declined ORD-1"]
    with own_transaction(alias(), durable=True):
        work = rows.lock(wanted)
        late_answers.keep(work, kept[0], outcomes.succeeded({"reference": "late"}))
        work.write()
    found = row()
    assert published() == ["declined ORD-1", "charged ORD-1"]
    assert (found.late_success_at is not None, found.closed_at is not None) == (True, True)
    assert [what for what, _ in provider.ended] == ["refusal", "success"]
    assert provider.ended[1][1].is_late


def test_kit_performs_intents_until_all_are_over(provider: Provider) -> None:
    provider.answers = [RetryLater("down"), OutcomeUnknown("timed out")]
    wanted = ask(declare(provider))
    assert perform_intents() == 3
    assert provider.keys == [f"{wanted}:charge_test"] * 3
    assert (row().state, published()) == ("completed", ["charged ORD-1"])
    assert perform_intents() == 0


def test_kit_leaves_what_is_due_after_its_patience(provider: Provider) -> None:
    provider.answers = [RetryLater("down", after=3600)]
    ask(declare(provider))
    assert perform_intents(patience=timedelta(minutes=5)) == 1
    assert (row().step_state, published()) == ("waiting", [])


def test_intent_needs_a_transaction(provider: Provider) -> None:
    with pytest.raises(EventRefused, match="must be written in the transaction"):
        declare(provider).request("ORD-1", ChargeInput(order="ORD-1"))


def test_rolled_back_intent_is_never_performed(provider: Provider) -> None:
    intent = declare(provider)
    with transaction.atomic(using=alias()):
        intent.request("ORD-1", ChargeInput(order="ORD-1"))
        transaction.set_rollback(True, using=alias())
    run()
    assert provider.keys == []
