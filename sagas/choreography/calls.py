"""External calls that belong to the steps of a choreographed saga: intents of the participants that owe an answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import Error
from django.db.models import Q

from .. import clock
from ..bounded_call import NotAnswered
from ..core.states import SagaState
from ..engine.store.snapshot import SagaSnapshot
from ..events import catalogue
from ..intents.unit_of_work import IntentUnitOfWork
from ..models import InboxEvent, InboxState, Intent
from .definition import ChoreographyDefinition
from .tracker import list_facts
from .trouble import ask


@dataclass(frozen=True, kw_only=True)
class Call:
    """One intent of a step."""

    alias: str
    """Database that holds it."""
    work: IntentUnitOfWork
    """The intent as it was read, without a lock."""

    @property
    def row(self) -> Intent:
        """The intent's row."""
        return self.work.row

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return SagaState(self.work.saga.state).is_open


@dataclass(frozen=True, kw_only=True)
class OpenAnswers:
    """What can still answer the steps of one saga."""

    calls: Mapping[str, list[Call]] = field(default_factory=dict)
    """By step, the oldest first."""
    silent: frozenset[str] = frozenset()
    """Participants whose database does not answer."""
    discarded: frozenset[tuple[str, str]] = frozenset()
    """Participants and ids of events that were discarded there, so that they will not react to them; and the tracker
    and types of events that were discarded before it recorded them."""

    def list_open(self, step: str) -> list[Call]:
        """Return the calls of a step that are not over."""
        return [call for call in self.calls.get(step, ()) if call.is_open]


def read_open_answers(snapshot: SagaSnapshot, definition: type[ChoreographyDefinition]) -> OpenAnswers:
    """Return what can still answer the steps of a saga, from the databases of its participants that run here."""
    facts = list_facts(snapshot.saga)
    ids = {fact.type: fact.event_id for fact in facts}
    calls: dict[str, list[Call]] = {}
    silent: set[str] = set()
    discarded: set[tuple[str, str]] = set()
    participants = {name for name in definition.rules().senders.values() if name and catalogue.is_local(name)}
    participants.add(catalogue.TRACKER)
    for participant in sorted(participants):
        alias = catalogue.database_of(participant)
        try:
            found, given_up = ask(alias, partial(_read, alias, participant, snapshot))
        except (Error, NotAnswered):
            silent.add(participant)
            continue
        discarded |= {(participant, name) for name in given_up}
        for call in found:
            if step := _step_of(definition, participant, call.row.causation_id, ids):
                calls.setdefault(step, []).append(call)
    return OpenAnswers(calls=calls, silent=frozenset(silent), discarded=frozenset(discarded))


def _read(alias: str, participant: str, snapshot: SagaSnapshot) -> tuple[list[Call], list[str]]:
    now: datetime = clock.read_now(alias)
    key, saga_id = str(snapshot.saga.input["key"]), str(snapshot.saga.pk)
    is_its_own = Q(correlation_id=saga_id) | Q(correlation_id="", key=key)
    intents = Intent.objects.using(alias).filter(is_its_own, participant=participant).order_by("created_at")
    given_up = InboxEvent.objects.using(alias).filter(
        Q(correlation_id=saga_id) | Q(key=key), consumer=participant, state=InboxState.DISCARDED.value
    )
    column = "type" if participant == catalogue.TRACKER else "event_id"
    calls = [Call(alias=alias, work=IntentUnitOfWork.of_row(alias, row, now)) for row in intents]
    return calls, list(given_up.values_list(column, flat=True))


def _step_of(
    definition: type[ChoreographyDefinition], participant: str, cause: str, ids: Mapping[str, str]
) -> str | None:
    """Return the step that a participant's call belongs to: by the event that caused it, else its first step."""
    own = list(_list_own(definition, participant))
    for name, causes in own:
        if cause and cause in {ids.get(event) for event in causes}:
            return name
    return own[0][0] if own else None


def _list_own(definition: type[ChoreographyDefinition], participant: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the steps that a participant answers, each with the events that may cause its calls."""
    senders = definition.rules().senders
    for step in definition.steps:
        sent = (*step.rule.success, *step.rule.refusal, *step.rule.undone)
        if participant in {senders[name] for name in sent}:
            yield step.name, (*step.rule.after, *((definition.cancelled_by,) if step.rule.undone else ()))
