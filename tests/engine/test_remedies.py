"""Remedies: registered beside the steps, offered where a step is stuck, recorded as operators' entries."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from sagas import DefinitionError, RemedyAnswer, StepContext, bounded_call, remedy
from sagas.core.definition.remedies import REMEDIES, SUGGESTIONS
from sagas.core.states import Direction
from sagas.exceptions import BadRequest, OperationRefused, PermissionRefused, RemedyFailed, SagaNotFound, StaleRevision
from sagas.models import Saga, SagaHistory, SagaStep
from sagas.models.saga import new_saga_id
from sagas.monitoring.remedy_checks import check_remedies
from sagas.operations import Actor, OfferedRemedy, list_remedies, mark_succeeded, retry_now, run_remedy
from sagas.operators.audit import verification
from sagas.operators.audit.operator_log import REMEDY, LogQuery, read_log
from sagas.operators.preconditions import Operation
from sagas.testing import drain

from .acting import make_user
from .situations import (
    TABLE,
    after_pivot,
    cannot_undo,
    failing,
    misconfigured,
    misconfigured_in_doubt,
    pivot_held,
    pivot_unknown,
    pivot_waiting,
    turned_back,
    unknown,
    violated,
    waiting,
    waiting_in_doubt,
)
from .world import OPERATOR, REASON, World

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

LABEL = "Ask the bank"
Answer = Callable[[StepContext[Any]], Any]


def register(
    answer: Answer, *, name: str = "ask_bank", steps: tuple[str, ...] = ("a", "p", "r"), **options: Any
) -> None:
    remedy(name, definition="trip", steps=steps, label=LABEL, **options)(answer)


def say(text: str = "The bank has the money.", **more: Any) -> Answer:
    return lambda _step: RemedyAnswer(text=text, **more)


def offered(saga: Saga) -> list[tuple[str, str]]:
    return [(found.remedy.name, found.step) for found in list_remedies(saga.pk, actor=OPERATOR)]


def entries(saga: Saga) -> list[SagaHistory]:
    return list(SagaHistory.objects.filter(saga=saga, what="operator_acted", to_state=REMEDY).order_by("number"))


def without_history(saga: Saga) -> list[Any]:
    return [
        list(Saga.objects.filter(pk=saga.pk).values("state", "hold", "attention", "revision", "due_at")),
        list(SagaStep.objects.filter(saga=saga).order_by("pk").values()),
    ]


class TestRegistration:
    @pytest.mark.parametrize(
        ("options", "mistake"),
        [
            ({"name": "Ask the bank"}, "a name is a lower-case identifier"),
            ({"steps": "pay"}, "steps takes a list of step names"),
            ({"steps": []}, "steps takes a list of step names"),
            ({"label": " "}, "label must be a text of at most 60 characters"),
            ({"changes": "x" * 301}, "changes must be a text of at most 300 characters"),
            ({"during": "night"}, "during must be 'action', 'compensation' or None"),
            ({"timeout": 5}, "timeout must be a positive timedelta"),
        ],
    )
    def test_wrong_options_are_refused(self, options: dict[str, Any], mistake: str) -> None:
        given: Any = {"name": "ask_bank", "definition": "trip", "steps": ["a"], "label": LABEL, **options}
        with pytest.raises(DefinitionError, match=mistake):
            remedy(**given)(say())
        assert ("trip", "ask_bank") not in REMEDIES

    def test_function_must_take_a_context(self) -> None:
        with pytest.raises(DefinitionError, match="cannot be called with one StepContext"):
            register(lambda: None)  # type: ignore[arg-type, misc]

    def test_name_is_unique_in_its_definition(self) -> None:
        register(say())
        with pytest.raises(DefinitionError, match="'ask_bank' of saga 'trip' is registered twice"):
            register(say())

    def test_unknown_definition_and_step_are_errors_at_start(self, saga: Saga) -> None:
        assert check_remedies() == []
        register(say(), name="fits")
        remedy("astray", definition="journey", steps=["a"], label=LABEL)(say())
        register(say(), name="adrift", steps=("a", "z"))
        found = {message.msg: message.hint or "" for message in check_remedies()}
        assert {*found} == {
            "Remedy 'astray' of saga 'journey': the code has no such definition.",
            "Remedy 'adrift' of saga 'trip': no version has the step 'z'.",
        }
        # Other tests in this process may have declared further versions.
        wanted = {"'journey'": "trip", "'z'": "p"}
        assert all(name in hint for msg, hint in found.items() for key, name in wanted.items() if key in msg)
        assert {message.id for message in check_remedies()} == {"sagas.E027"}

    def test_suggestions_are_operations(self) -> None:
        assert set(SUGGESTIONS) <= {operation.value for operation in Operation}

    @pytest.mark.parametrize("wrong", [{"text": ""}, {"suggests": "retry"}, {"suggests": ["abandon"]}])
    def test_wrong_answer_is_refused_where_it_is_made(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="RemedyAnswer"):
            RemedyAnswer(**{"text": "Yes.", **wrong})


STUCK = {
    waiting, waiting_in_doubt, unknown, misconfigured, misconfigured_in_doubt, pivot_waiting, pivot_unknown,
    pivot_held, after_pivot, violated, turned_back, failing, cannot_undo,
}  # fmt: skip


@pytest.mark.parametrize("situation", TABLE, ids=lambda situation: situation.__name__)
def test_remedies_are_offered_where_a_step_is_stuck(situation: Callable[..., None], world: World, saga: Saga) -> None:
    register(say())
    situation(world, saga)
    assert offered(saga) == ([("ask_bank", TABLE[situation][0])] if situation in STUCK else [])


@pytest.mark.parametrize(("situation", "found"), [(waiting, ["forwards"]), (failing, ["backwards"])])
def test_direction_decides(situation: Callable[..., None], found: list[str], world: World, saga: Saga) -> None:
    register(say(), name="forwards", during="action")
    register(say(), name="backwards", during=Direction.COMPENSATION)
    situation(world, saga)
    assert [name for name, _ in offered(saga)] == found


def test_context_is_that_of_the_stuck_direction(world: World, saga: Saga) -> None:
    seen: list[StepContext[Any]] = []

    def look(step: StepContext[Any]) -> RemedyAnswer:
        seen.append(step)
        return RemedyAnswer(text="Seen.")

    register(look, timeout=timedelta(seconds=3))
    failing(world, saga)
    run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
    [step] = seen
    assert (step.key, step.direction, step.attempt) == (f"{saga.pk}:a", Direction.COMPENSATION, 10)
    assert step.provider_key == f"{saga.pk}:a:compensate:0"
    assert 0 < step.remaining <= 3


class TestLookUp:
    def test_answer_is_recorded_and_nothing_else_changes(self, world: World, saga: Saga) -> None:
        register(say(facts={"Amount": 790}, suggests=["mark_succeeded"], result={"payment": "7"}))
        pivot_held(world, saga)
        before = without_history(saga)

        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR)

        assert (found.label, found.message) == ("Ask the bank: p", "The bank has the money.")
        assert (found.suggestion, found.evidence, found.result) == (
            Operation.MARK_SUCCEEDED, "The bank has the money.", {"payment": "7"},
        )  # fmt: skip
        assert without_history(saga) == before
        [entry] = entries(saga)
        assert (entry.actor, entry.step, entry.reason) == ("ada", "p", "")
        assert entry.data == {
            "remedy": "ask_bank", "label": LABEL, "result": "The bank has the money.", "facts": {"Amount": 790},
            "before": "held: outcome unknown; p held: outcome unknown",
            "after": "held: outcome unknown; p held: outcome unknown",
        }  # fmt: skip
        assert verification.verify([saga.pk], signed_since=saga.created_at).is_sound
        assert entry.signature
        [logged] = read_log(LogQuery(operation=REMEDY)).operations
        assert (logged.remedy, logged.result) == (LABEL, "The bank has the money.")

    def test_answer_carries_the_operation_that_follows(self, world: World, saga: Saga) -> None:
        register(say(suggests=["mark_succeeded"], result={"payment": "7"}))
        pivot_held(world, saga)
        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        mark_succeeded(
            saga.pk, actor=OPERATOR, reason=REASON, step=found.step, evidence=found.evidence, result=found.result
        )
        assert drain(saga).state == "completed"

    def test_first_possible_and_permitted_suggestion_is_offered(self, world: World, saga: Saga) -> None:
        register(say(suggests=["mark_compensated", "mark_succeeded", "retry"]))
        pivot_held(world, saga)
        user = make_user("remedy_saga", "retry_saga")
        found = run_remedy(saga.pk, "ask_bank", actor=Actor.of_user(user))
        assert (found.suggestion, found.refusals) == (Operation.RETRY, ())

    def test_reasons_against_all_suggestions_are_given(self, world: World, saga: Saga) -> None:
        register(say(suggests=["mark_compensated", "mark_succeeded"]))
        pivot_held(world, saga)
        found = run_remedy(saga.pk, "ask_bank", actor=Actor.of_user(make_user("remedy_saga")))
        assert found.suggestion is None
        assert found.refusals == (
            "Mark compensated is not possible: ada lacks the permission sagas.override_saga.",
            "Mark succeeded is not possible: ada lacks the permission sagas.override_saga.",
        )

    def test_secrets_are_masked(self, world: World, saga: Saga) -> None:
        card = "4111 1111 1111 1111"
        register(say(f"Charged {card}.", facts={"password": "hunter2"}, result={"token": "s3cret-value"}))
        unknown(world, saga)
        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert not [secret for secret in (card, "hunter2", "s3cret") if secret in str(found.as_dict())]
        assert not [secret for secret in (card, "hunter2", "s3cret") if secret in str(entries(saga)[0].data)]

    def test_saga_that_closes_meanwhile_keeps_the_answer(self, world: World, saga: Saga) -> None:
        def look(_step: StepContext[Any]) -> RemedyAnswer:
            retry_now(saga.pk, actor=OPERATOR, reason=REASON)
            assert drain(saga).state == "completed"
            return RemedyAnswer(text="It happened.", suggests=["mark_succeeded"])

        register(look)
        pivot_held(world, saga)
        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert found.suggestion is None
        assert found.refusals == (
            "Mark succeeded is not possible: The saga is completed; no operation is possible any more.",
        )
        assert (entries(saga)[0].data["before"], entries(saga)[0].data["after"]) == (
            "held: outcome unknown; p held: outcome unknown", "completed",
        )  # fmt: skip


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
            (lambda _: {"paid": True}, "The answer of remedy 'ask_bank' is a dict; return a RemedyAnswer."),
            (say(facts={"x": object()}), "InputRefused"),
            (lambda _: exec("raise SystemExit"), "It ended its thread by SystemExit."),  # noqa: S102
        ],
    )
    def test_failure_is_shown_and_recorded(self, answer: Answer, text: str, world: World, saga: Saga) -> None:
        register(answer)
        unknown(world, saga)
        before = without_history(saga)
        with pytest.raises(RemedyFailed, match="Nothing of the saga has changed") as failed:
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert text in str(failed.value)
        assert without_history(saga) == before
        [entry] = entries(saga)
        assert entry.data["result"].startswith("Failed: ")
        assert "division" not in str(entry.data)

    def test_secrets_in_an_error_are_masked(self, world: World, saga: Saga) -> None:
        def fail(_step: StepContext[Any]) -> RemedyAnswer:
            raise RuntimeError("password=hunter2")

        register(fail)
        unknown(world, saga)
        with pytest.raises(RemedyFailed) as failed:
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert "hunter2" not in str(failed.value)

    def test_time_limit_ends_the_wait(
        self, world: World, saga: Saga, release: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hang(_step: StepContext[Any]) -> RemedyAnswer:
            release.wait(60)
            return RemedyAnswer(text="Too late.")

        register(hang, timeout=timedelta(milliseconds=50))
        unknown(world, saga)
        began = time.monotonic()
        with pytest.raises(RemedyFailed, match=r"did not answer within 0\.05 s and may still be running"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert time.monotonic() - began < 30
        monkeypatch.setattr(bounded_call, "MAX_HANGING", 1)
        with pytest.raises(RemedyFailed, match="1 earlier calls of this process still hang"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Release hanging remedies after the test, and wait for their end."""
    event = threading.Event()
    yield event
    event.set()
    for thread in bounded_call._hanging:
        thread.join(60)


class TestRepair:
    def test_repair_and_retry_are_one_call(self, world: World, saga: Saga) -> None:
        register(say("It works again.", suggests=["retry"]), changes="Mends the bank.")
        failing(world, saga)
        revision = Saga.objects.get(pk=saga.pk).revision

        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR, reason=REASON, revision=revision, retries=True)

        assert found.message == "It works again. a is due now, with a fresh budget."
        assert [entry.data["result"] for entry in entries(saga)] == ["Begun.", "It works again."]
        assert {(entry.reason, entry.actor) for entry in entries(saga)} == {(REASON, "ada")}
        assert drain(saga).state == "compensated"

    def test_entry_is_written_before_the_repair_runs(self, world: World, saga: Saga) -> None:
        seen: list[int] = []

        def mend(_step: StepContext[Any]) -> RemedyAnswer:
            seen.append(len(entries(saga)))
            raise RuntimeError("The bank is gone.")

        register(mend, changes="Mends the bank.")
        failing(world, saga)
        with pytest.raises(RemedyFailed, match="The participant may have changed; running it again is safe"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR, reason=REASON, retries=True)
        assert seen == [1]
        assert [entry.data["result"] for entry in entries(saga)] == ["Begun.", "Failed: RuntimeError."]
        assert SagaStep.objects.get(saga=saga, name="a").attention == "compensation_failing"

    def test_double_click_repairs_once(self, world: World, saga: Saga) -> None:
        runs: list[str] = []

        def mend(step: StepContext[Any]) -> RemedyAnswer:
            runs.append(step.key)
            return RemedyAnswer(text="It works again.")

        register(mend, changes="Mends the bank.")
        failing(world, saga)
        revision = Saga.objects.get(pk=saga.pk).revision
        for _ in range(2):
            found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR, reason=REASON, revision=revision)
        assert (found.is_repeat, found.text, len(runs)) == (True, "Already run, and only once.", 1)

    def test_stale_decision_repairs_nothing(self, world: World, saga: Saga) -> None:
        register(lambda _: pytest.fail("It ran."), changes="Mends the bank.")
        failing(world, saga)
        with pytest.raises(StaleRevision):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR, reason=REASON, revision=1)
        assert entries(saga) == []

    def test_reason_is_required(self, world: World, saga: Saga) -> None:
        register(lambda _: pytest.fail("It ran."), changes="Mends the bank.")
        failing(world, saga)
        with pytest.raises(BadRequest, match="The reason needs at least 10 visible characters"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)
        assert entries(saga) == []

    def test_retry_that_is_not_possible_is_part_of_the_result(self, world: World, saga: Saga) -> None:
        register(say("It works again.", suggests=["retry"]), changes="Mends the bank.")
        failing(world, saga)
        actor = Actor.of_user(make_user("remedy_saga"))
        found = run_remedy(saga.pk, "ask_bank", actor=actor, reason=REASON, retries=True)
        assert found.message == (
            "It works again. Retry now is not possible: ada lacks the permission sagas.retry_saga."
        )
        assert found.retried is None

    def test_no_lock_is_held_while_it_runs(self, world: World, saga: Saga) -> None:
        def mend(_step: StepContext[Any]) -> RemedyAnswer:
            retry_now(saga.pk, actor=OPERATOR, reason=REASON)  # in another connection: it would wait for a lock
            return RemedyAnswer(text="It works again.")

        register(mend, changes="Mends the bank.")
        failing(world, saga)
        found = run_remedy(saga.pk, "ask_bank", actor=OPERATOR, reason=REASON)
        assert found.text == "It works again."


class TestRefusals:
    def test_permission_is_required(self, world: World, saga: Saga) -> None:
        register(lambda _: pytest.fail("It ran."))
        unknown(world, saga)
        actor = Actor.of_user(make_user("view_saga", "retry_saga", "override_saga"))
        with pytest.raises(PermissionRefused, match="lacks the permission"):
            run_remedy(saga.pk, "ask_bank", actor=actor)
        with pytest.raises(PermissionRefused):
            list_remedies(saga.pk, actor=actor)
        assert entries(saga) == []

    def test_unknown_remedy_step_and_saga_are_named(self, world: World, saga: Saga) -> None:
        register(say())
        unknown(world, saga)
        with pytest.raises(BadRequest, match="trip has no remedy 'ask'; it has: ask_bank"):
            run_remedy(saga.pk, "ask", actor=OPERATOR)
        with pytest.raises(BadRequest, match="is not for step 'b'; it is for: a, p, r"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR, step="b")
        with pytest.raises(SagaNotFound):
            run_remedy(new_saga_id(), "ask_bank", actor=OPERATOR)

    def test_step_that_is_not_stuck_needs_no_remedy(self, saga: Saga) -> None:
        register(lambda _: pytest.fail("It ran."))
        with pytest.raises(OperationRefused, match="is for a step that is stuck; the saga is pending"):
            run_remedy(saga.pk, "ask_bank", actor=OPERATOR)


def test_offered_remedy_says_what_it_is(world: World, saga: Saga) -> None:
    register(say(), changes="Mends the bank.")
    unknown(world, saga)
    [found] = list_remedies(saga.pk, actor=OPERATOR)
    assert isinstance(found, OfferedRemedy)
    assert found.as_dict() == {
        "name": "ask_bank", "label": LABEL, "kind": "repair", "changes": "Mends the bank.", "step": "a",
        "direction": "action",
    }  # fmt: skip
