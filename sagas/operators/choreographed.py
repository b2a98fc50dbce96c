"""Operations on choreographed sagas: when each is possible, why not, and what would follow.

Nobody commands such a saga, so most operations act on a participant's external call, ask who decides, or record what an
operator knows. Nothing is changed here.
"""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from ..choreography.calls import Call, OpenAnswers, read_open_answers
from ..choreography.definition import ChoreographyDefinition, find
from ..core.states import SagaState
from ..engine.store.snapshot import SagaSnapshot
from ..events import catalogue
from . import preconditions
from .preconditions import Operation
from .presentation.times import describe_moment

NOT_COMMANDED = frozenset(
    {Operation.COMPENSATE, Operation.SKIP, Operation.MARK_COMPENSATED, Operation.PAUSE, Operation.RESUME}
)
MARKS = frozenset({Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED})
_answers: WeakKeyDictionary[SagaSnapshot, OpenAnswers] = WeakKeyDictionary()


def find_refusal(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> str:
    """Return why an operation is not possible now, for a saga of either style; an empty string when it is possible."""
    saga = snapshot.saga
    if not saga.is_choreographed or not SagaState(saga.state).is_open:
        return preconditions.find_refusal(snapshot, operation, step)
    definition = find(saga.definition, saga.version)
    if definition is None:
        return f"The code has no choreography {saga.definition!r} version {saga.version}: deploy it again."
    if operation in NOT_COMMANDED:
        return f"Nobody commands here: participants react to events. Cancel asks {definition.decider()}."
    if operation is Operation.CANCEL:
        return _refuse_cancel(snapshot, definition)
    if operation is Operation.RETRY:
        return _refuse_retry(snapshot, definition, step)
    if operation in MARKS:
        return _refuse_mark(snapshot, definition, operation, step or "")
    return _refuse_abandon(snapshot, definition)


def list_calls_to_retry(snapshot: SagaSnapshot, step: str | None) -> list[tuple[str, Call]]:
    """Return the external calls that *retry now* would make due, with their steps."""
    definition = find(snapshot.saga.definition, snapshot.saga.version)
    if definition is None:
        return []
    answers = read(snapshot, definition)
    names = [row.name for row in snapshot.steps if step in (None, row.name)]
    return [
        (name, call)
        for name in names
        for call in answers.list_open(name)
        if not preconditions.find_refusal(call.work, Operation.RETRY, None)
    ]


def find_call(snapshot: SagaSnapshot, step: str) -> Call | None:
    """Return the external call that a mark of a step acts on: its open one; None if there is none."""
    definition = find(snapshot.saga.definition, snapshot.saga.version)
    found = read(snapshot, definition).list_open(step) if definition is not None else []
    return found[-1] if found else None


def list_paid(snapshot: SagaSnapshot, operation: Operation, step: str) -> list[str]:
    """Return the events that a mark without a call records as stated: what the step owes, or its refusal."""
    definition = find(snapshot.saga.definition, snapshot.saga.version)
    if definition is None:
        return []
    refusal = definition.step(step).rule.refusal
    if operation is Operation.MARK_REFUSED:
        return list(refusal[:1])
    owed = [name for debt in snapshot.saga.owed if debt["step"] == step for name in debt["types"]]
    return [name for name in owed if name not in refusal]


def describe_outcome(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> str:
    """Return what a possible operation would do, in a sentence."""
    definition = find(snapshot.saga.definition, snapshot.saga.version)
    if definition is None or operation is Operation.ABANDON:
        return "The saga is closed as abandoned; nothing reopens it, and participants go on with what they have heard."
    if operation is Operation.CANCEL:
        return (
            f"{definition.decider()} is asked to cancel. If it does, it sends {definition.cancelled_by}, and each"
            " participant undoes what it did."
        )
    if operation is Operation.RETRY:
        names = ", ".join(call.row.definition for _, call in list_calls_to_retry(snapshot, step))
        return f"Due now, with a fresh budget: {names}."
    call = find_call(snapshot, step or "")
    if call is not None:
        return f"The call {call.row.definition} ends as stated, and {call.row.participant} sends the event of that end."
    return f"{', '.join(list_paid(snapshot, operation, step or ''))} counts as recorded; nothing is sent to anybody."


def read(
    snapshot: SagaSnapshot, definition: type[ChoreographyDefinition] | None, *, with_data: bool = False
) -> OpenAnswers:
    """Return what can still answer the steps of a saga, and its events, read once for each snapshot.

    ``with_data``: whether that first reading includes the data of events.
    """
    if snapshot not in _answers:
        _answers[snapshot] = read_open_answers(snapshot, definition, with_data=with_data)
    return _answers[snapshot]


def _refuse_cancel(snapshot: SagaSnapshot, definition: type[ChoreographyDefinition]) -> str:
    saga = snapshot.saga
    if saga.state == SagaState.COMPENSATING:
        return f"{definition.decider()} has cancelled it already."
    if saga.pivot_passed_at is not None:
        decision = " and ".join(definition.rules().pivot.success)
        return f"Too late: {decision} was recorded {describe_moment(saga.pivot_passed_at)}."
    if definition.on_cancel is None:
        return f"{definition.name} has no on_cancel, so {definition.decider()} cannot be asked from here."
    return ""


def _refuse_retry(snapshot: SagaSnapshot, definition: type[ChoreographyDefinition], step: str | None) -> str:
    if list_calls_to_retry(snapshot, step):
        return ""
    answers = read(snapshot, definition)
    if silent := _name_silent(answers):
        return silent
    for name, calls in answers.calls.items():
        for call in calls:
            if step in (None, name) and call.is_open:
                return preconditions.find_refusal(call.work, Operation.RETRY, None)
    where = f"of {step} " if step else ""
    return f"No external call {where}waits or is held. A failed event is retried with event_retry."


def _refuse_mark(
    snapshot: SagaSnapshot, definition: type[ChoreographyDefinition], operation: Operation, step: str
) -> str:
    debts = [debt for debt in snapshot.saga.owed if debt["step"] == step]
    if not debts:
        return f"Nobody owes an answer of {step} now."
    answers, call = read(snapshot, definition), find_call(snapshot, step)
    if call is not None:
        return preconditions.find_refusal(call.work, operation, call.work.steps[0].name)
    by = debts[0]["by"]
    if by in answers.silent:
        return _name_silent(answers)
    if not list_paid(snapshot, operation, step):
        return f"{' or '.join(debts[0]['types'])} is owed, and that cannot be refused."
    if operation is Operation.MARK_REFUSED and debts[0]["undoes"]:
        return f"{step} was reported as done; what is owed is {' or '.join(debts[0]['types'])}."
    causes = set(_list_cause_ids(snapshot, debts))
    if catalogue.is_local(by) and not any((by, cause) in answers.discarded for cause in causes):
        return f"{by} runs here, so {' or '.join(debts[0]['types'])} can still come; retry or discard what it fails on."
    return ""


def _refuse_abandon(snapshot: SagaSnapshot, definition: type[ChoreographyDefinition]) -> str:
    for calls in read(snapshot, definition).calls.values():
        for call in calls:
            if call.is_open and (live := preconditions.find_refusal(call.work, Operation.ABANDON, None)):
                return live
    return ""


def _list_cause_ids(snapshot: SagaSnapshot, debts: list[dict[str, str]]) -> Iterator[str]:
    yield from (debt["cause"] for debt in debts)


def _name_silent(answers: OpenAnswers) -> str:
    names = ", ".join(sorted(answers.silent))
    return f"The database of {names} does not answer, so its calls are not known; try again." if names else ""
