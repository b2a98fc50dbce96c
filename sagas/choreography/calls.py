"""External calls that belong to the steps of a choreographed saga: intents of the participants that owe an answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import Error

from ..bounded_call import NotAnswered
from ..conf import get_settings
from ..core.states import SagaState
from ..engine.store.snapshot import SagaSnapshot
from ..events import catalogue
from ..intents.unit_of_work import IntentUnitOfWork
from ..models import Intent
from .definition import ChoreographyDefinition
from .deliveries import Deliveries, SagaEvent, join_events, list_discarded, read_deliveries
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
    """Participants and ids of events that were discarded there, so that they will not react to them."""
    events: tuple[SagaEvent, ...] = ()
    """Its events, the oldest first."""
    seen_at: Mapping[str, datetime] = field(default_factory=dict)
    """When each consumer was last seen."""
    unreachable: tuple[str, ...] = ()
    """Databases that do not answer."""

    def list_open(self, step: str) -> list[Call]:
        """Return the calls of a step that are not over."""
        return [call for call in self.calls.get(step, ()) if call.is_open]

    def find_event(self, type_name: str, event_id: str = "") -> SagaEvent | None:
        """Return the event of an id, else the first of a type; None if no database that answered has it."""
        found = [event for event in self.events if event.type == type_name]
        return next((event for event in found if event.id == event_id), found[0] if found else None)


def read_open_answers(
    snapshot: SagaSnapshot, definition: type[ChoreographyDefinition] | None, *, with_data: bool = False
) -> OpenAnswers:
    """Return what can still answer the steps of a saga, from all databases of events, each asked once.

    ``definition``: None if the code does not have it; then no call belongs to a step. ``with_data``: whether to read
    the data of events.
    """
    senders = set(definition.rules().senders.values()) - {""} if definition is not None else set()
    participants = sorted(name for name in senders if catalogue.is_local(name))
    types = definition.list_events() if definition is not None else []
    answered: dict[str, Deliveries] = {}
    unreachable: list[str] = []
    for alias in catalogue.event_databases():
        here = [name for name in participants if catalogue.database_of(name) == alias]
        read = partial(read_deliveries, alias, snapshot.saga, types, here, with_data=with_data)
        # The engine's database is needed anyway, so only the others get a limit.
        if alias == get_settings().database:
            answered[alias] = read()
            continue
        try:
            answered[alias] = ask(alias, read)
        except (Error, NotAnswered):
            unreachable.append(alias)
    return OpenAnswers(
        calls=_sort_calls(definition, answered) if definition is not None else {},
        silent=frozenset(name for name in participants if catalogue.database_of(name) in unreachable),
        discarded=frozenset(list_discarded(answered.values())),
        events=tuple(join_events(answered.values())),
        seen_at={name: at for one in answered.values() for name, at in one.seen_at.items()},
        unreachable=tuple(unreachable),
    )


def _sort_calls(definition: type[ChoreographyDefinition], answered: Mapping[str, Deliveries]) -> dict[str, list[Call]]:
    """Return the calls by step, those of one participant in the order in which they were begun."""
    ids = {fact.type: fact.event_id for one in answered.values() for fact in one.facts}
    found = [
        Call(alias=alias, work=IntentUnitOfWork.of_row(alias, row, now))
        for alias, one in answered.items()
        for row, now in one.intents
    ]
    calls: dict[str, list[Call]] = {}
    for call in sorted(found, key=lambda one: one.row.participant):
        if step := _step_of(definition, call.row.participant, call.row.causation_id, ids):
            calls.setdefault(step, []).append(call)
    return calls


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
