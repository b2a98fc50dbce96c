"""Declaration of intents: what to call, what counts as a refusal, and which events tell the result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connections, transaction

from .. import clock
from ..conf import get_settings
from ..core.definition import inputs, options
from ..core.definition.options import StepFunction
from ..core.definition.saga import STEP_NAME, SagaDefinition, compute_digest
from ..core.definition.steps import Step
from ..core.retry import RetryPolicy
from ..core.states import Kind
from ..engine.notify import wakeup_sending
from ..events import catalogue, handlers
from ..events.errors import EventRefused
from ..exceptions import DefinitionError
from ..models import Intent as IntentRow


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Result of an intent, as its functions get it."""

    id: UUID
    """The intent."""
    key: str
    """Key of the events, such as an order number."""
    input: Any
    """The typed input."""
    result: dict[str, Any]
    """What the call returned; empty after a refusal."""
    reason: str
    """Why it did not succeed, as text with secrets masked; empty after a success."""
    error_class: str
    """Dotted name of the exception that refused it; empty if its budget was spent or an operator stated the end."""
    is_assumed: bool
    """Whether an operator stated the result."""
    is_late: bool
    """Whether it succeeded after it had been given up."""


EndFunction = Callable[[Ended], None]
_declared: dict[str, "Intent"] = {}


@dataclass(frozen=True)
class Intent:
    """Kind of external call that handlers of one participant may ask for.

    ``call`` is an external step function: it takes a ``StepContext``, is repeated under the same ``key`` after a lost
    answer, and raises what external steps raise. ``on_success`` and ``on_refusal`` run in the transaction that records
    the end, in the participant's database: they change rows and publish events. ``on_refusal`` also gets the end of a
    call whose budget was spent without any effect.
    """

    name: str
    """Name, unique in its participant: a lower-case identifier."""
    call: StepFunction = field(kw_only=True)
    """The external call."""
    participant: str = field(kw_only=True)
    """App label of the participant, in whose database intents are kept."""
    input: type = field(kw_only=True)
    """Frozen dataclass of references, as the input of a saga."""
    on_success: EndFunction = field(kw_only=True)
    """What follows a success."""
    on_refusal: EndFunction | None = field(default=None, kw_only=True)
    """What follows a refusal; None: the call must succeed in the end, is retried for ever, and a refusal is held."""
    on_late_success: EndFunction | None = field(default=None, kw_only=True)
    """What follows a success that arrives after the refusal was recorded or marked; None: ``on_success``."""
    refuses_on: Iterable[type[Exception]] = field(default=(), kw_only=True)
    """Exceptions that mean that the participant declined and did nothing."""
    refusal_settles: bool = field(default=False, kw_only=True)
    """Whether a refusal holds for earlier attempts of unknown outcome, too."""
    retry: RetryPolicy | None = field(default=None, kw_only=True)
    """Budget and delays; None: the project's default."""
    timeout: timedelta | None = field(default=None, kw_only=True)
    """Time-out of one attempt; None: the project's default."""
    queue: str | None = field(default=None, kw_only=True)
    """Celery queue whose workers perform it; None: the project's default."""

    def __post_init__(self) -> None:
        """Check and register the declaration.

        Raises: DefinitionError.
        """
        if not isinstance(self.name, str) or not STEP_NAME.fullmatch(self.name):
            raise DefinitionError(
                f"Intent {self.name!r}: a name must be a lower-case identifier of at most 60 characters."
            )
        if self.on_refusal is None and self.refusal_settles:
            raise DefinitionError(f"Intent {self.name} settles refusals, but has no on_refusal.")
        known = _declared.get(self.stored_name)
        if known is not None and known.call.__module__ != self.call.__module__:
            raise DefinitionError(
                f"Intent {self.stored_name} is declared twice, in {known.call.__module__} and {self.call.__module__}."
            )
        inputs.check_schema(self.input, f"The input of intent {self.stored_name}")
        object.__setattr__(self, "definition", _make_definition(self))
        _declared[self.stored_name] = self

    @property
    def stored_name(self) -> str:
        """Name under which intents are stored: ``payments.charge``."""
        return f"{self.participant}.{self.name}"

    @property
    def must_succeed(self) -> bool:
        """Whether it is retried for ever."""
        return self.on_refusal is None

    def request(self, key: str, input: Any, *, correlation_id: str = "") -> UUID:
        """Write an intent in the current transaction of the participant's database; a worker performs it afterwards.

        ``key``: key of the events that tell the result. Correlation and cause come from the event being handled.
        Returns: the id of the intent; ``<id>:<name>`` is the key that the call gets.
        Raises: EventRefused outside a transaction; InputRefused when the input does not fit.
        Tx: must be inside one of the participant's database.
        """
        alias = catalogue.database_of(self.participant)
        if not connections[alias].in_atomic_block:
            raise EventRefused(
                f"Intent {self.stored_name} must be written in the transaction of the decision, but the connection"
                f" {alias!r} is in none: call request inside transaction.atomic(using={alias!r})."
            )
        cause, now = handlers.current.get(), clock.read_now(alias)
        queue = self.queue or get_settings().common_queue
        row = IntentRow.objects.using(alias).create(
            definition=self.stored_name,
            participant=self.participant,
            key=key,
            correlation_id=correlation_id or (cause.correlation_id if cause else ""),
            causation_id=cause.id if cause else "",
            traceparent=cause.traceparent if cause else "",
            input=inputs.dump(self.input, input, get_settings().redactor),
            queue=queue,
            due_at=now,
            created_at=now,
            updated_at=now,
        )
        transaction.on_commit(lambda: wakeup_sending.send(row.pk, queue), using=alias, robust=True)
        return row.pk


def find(stored_name: str) -> Intent | None:
    """Return the declaration of a stored name, or None when the code has none."""
    return _declared.get(stored_name)


def list_declared() -> list[Intent]:
    """Return all declarations, by stored name."""
    return [_declared[name] for name in sorted(_declared)]


def definition_of(declared: Intent) -> type[SagaDefinition]:
    """Return the definition by which the engine executes an intent."""
    found: type[SagaDefinition] = declared.definition  # type: ignore[attr-defined]
    return found


def forget(stored_name: str) -> None:
    """Remove a declaration; for tests."""
    _declared.pop(stored_name, None)


def intent_databases() -> list[str]:
    """Return the aliases that hold intents of participants that run here."""
    labels = {declared.participant for declared in _declared.values()}
    aliases = {
        catalogue.database_of(label) for label in labels if label in apps.app_configs and catalogue.is_local(label)
    }
    return sorted(aliases)


def _make_definition(declared: Intent) -> type[SagaDefinition]:
    """Return a definition of one external step: a pivot, or a step that must succeed in the end.

    It is not registered with the definitions of sagas, whose rules about the order of steps it does not follow.
    """
    step = Step(
        kind=Kind.RETRIABLE if declared.must_succeed else Kind.PIVOT,
        action=options.check_function(declared.call, "call", optional=False),
        participant=declared.participant,
        external=True,
        queue=declared.queue,
        timeout=declared.timeout,
        retry=declared.retry,
        refuses_on=options.check_exceptions(declared.refuses_on, "refuses_on"),
        refusal_settles=declared.refusal_settles,
        name=declared.name,
    )
    attributes = {"Meta": type("Meta", (), {"abstract": True}), "__module__": declared.call.__module__}
    made: type[SagaDefinition] = type(f"Intent_{declared.name}", (SagaDefinition,), attributes)
    made.name, made.version, made.input = declared.stored_name, 1, declared.input
    made.deadline, made.on_closed, made.steps = None, None, (step,)
    made.digest = compute_digest(made)
    return made
