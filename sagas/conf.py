"""Engine settings: the dict ``SAGAS`` in the project's settings, read lazily, with defaults."""

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .core.definition.steps import Step
from .core.redaction.redactor import Redactor
from .core.retry import RetryPolicy
from .core.states import Direction

HOURLY_SECONDS = 3600.0  # compensations are retried without limit; once an hour burdens no participant


@dataclass(frozen=True, kw_only=True)
class SagaSettings:
    """All engine settings; the keys of ``SAGAS`` are these names in upper case."""

    database: str = "default"
    """Alias of the engine's database."""
    default_queue: str = ""
    """Queue of steps that name none; empty: Celery's ``task_default_queue``, which workers consume by default."""
    wakeup: str = "celery"
    """How wake-ups are sent: ``celery``; ``none``, which relies on the sweep alone; or a function's dotted path."""
    wakeup_capacity: int = 10_000
    """Wake-ups that one process buffers for a slow broker; further ones are dropped and left to the sweep."""
    timeout: timedelta = timedelta(seconds=10)
    """Time limit of one attempt, for steps that set none."""
    lease_margin: timedelta = timedelta(seconds=20)
    """Time by which an attempt's lease outlasts its time-out."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """Budget and delays of actions that name none."""
    compensation_retry: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(attempts=10, after_budget=HOURLY_SECONDS)
    )
    """Budget and delays of compensations that name none; after the budget they are retried hourly without limit."""
    poll_after: timedelta = timedelta(seconds=5)
    """Delay until a step in progress is polled again, unless it names one."""
    hook_timeout: timedelta = timedelta(seconds=10)
    """How long a worker waits for a hook of ``Meta.on_closed``; a slower one is called again."""
    time_slice: timedelta = timedelta(seconds=10)
    """How long one task works on its saga before it sends a wake-up for another task."""
    wakeup_interval: timedelta = timedelta(seconds=5)
    """Minimum time between two wake-ups of a due saga, over all sweepers."""
    sweep_interval: timedelta = timedelta(seconds=2)
    """Time between two sweeps of a worker."""
    sweep_runs: bool = False
    """Whether a worker's sweeper executes due sagas, one after the other, while no wake-ups can arrive."""
    sweep_page: int = 200
    """Number of due sagas that one sweep wakes."""
    result_max_bytes: int = 64 * 1024
    """Largest step result that is stored."""
    barrier_retention: timedelta = timedelta(days=90)
    """How long barrier rows are kept: longer than any call or message can still be delivered."""
    access_retention: timedelta = timedelta(days=400)
    """How long records of payload accesses, and of who confirmed and stopped bulks, are kept."""
    worker_seen_within: timedelta = timedelta(seconds=30)
    """Time after its last heartbeat at which a sweeper counts as gone."""
    signing_keys: list[str] = field(default_factory=list)
    """Secrets that sign operations: the first signs, all verify. Empty: Django's SECRET_KEY and its fallbacks."""
    bulk_rate: int = 20
    """Sagas per second that one bulk acts on, over all workers."""
    bulk_max: int = 100_000
    """Maximum number of sagas in one bulk; a larger set is refused. Freezing 100,000 took 5 s on two busy cores."""
    bulk_confirm_within: timedelta = timedelta(hours=1)
    """How long a bulk may be confirmed after its sagas were frozen."""
    on_attention: list[str] = field(default_factory=list)
    """Dotted paths of functions of an ``Alert`` or ``EventAlert``, called when a saga or events need an operator."""
    console_url: str = ""
    """URL of the admin, for links in alerts: ``https://shop.example.com/admin/``."""
    alert_timeout: timedelta = timedelta(seconds=5)
    """How long the senders of ``sagas.alerts`` wait for a mail server or a webhook."""
    alert_emails: list[str] = field(default_factory=list)
    """Recipients of ``sagas.alerts.send_mail``; empty: Django's ADMINS."""
    alert_webhook_url: str = field(default="", repr=False)
    """URL that ``sagas.alerts.send_webhook`` posts to."""
    alert_webhook_secret: str = field(default="", repr=False)
    """Key that signs webhooks; empty: they are not signed."""
    redact_keys: list[str] = field(default_factory=list)
    """Further names, or parts of names, whose values are secrets and are never stored."""
    redact_patterns: dict[str, str] = field(default_factory=dict)
    """Further patterns of secrets: regular expressions by the label in the mask, such as ``{"badge number": ...}``."""
    redact_except: list[str] = field(default_factory=list)
    """Names whose values are never treated as secrets."""

    events: dict[str, Any] = field(default_factory=dict)
    """Events between participants, off while it has no ``URL``; ``sagas.events.settings`` lists its keys."""

    @cached_property
    def redactor(self) -> Redactor:
        """Redactor that all data passes through before it is stored."""
        return Redactor(
            keys=tuple(self.redact_keys), patterns=self.redact_patterns, exceptions=tuple(self.redact_except)
        )

    def policy(self, step: Step, direction: Direction) -> RetryPolicy:
        """Return the retry policy of one direction of a step."""
        if direction is Direction.ACTION:
            return step.retry or self.retry
        policy = step.compensation_retry or self.compensation_retry
        if policy.after_budget is not None:
            return policy
        slow = self.compensation_retry.after_budget
        return replace(policy, after_budget=HOURLY_SECONDS if slow is None else slow)

    def attempt_timeout(self, step: Step, direction: Direction) -> timedelta:
        """Return the time limit of one attempt."""
        own = step.timeout if direction is Direction.ACTION else step.compensation_timeout or step.timeout
        return own or self.timeout

    def queue_of(self, step: Step) -> str:
        """Return the queue of a step."""
        return step.queue or self.common_queue

    @property
    def common_queue(self) -> str:
        """Queue of steps that name none. Not cached: Celery's app may be created after the settings were read."""
        return self.default_queue or str(current_app.conf.task_default_queue)


_cached: SagaSettings | None = None


def get_settings() -> SagaSettings:
    """Return the engine's settings.

    Raises: ImproperlyConfigured for an unknown name or a value of the wrong type.
    """
    global _cached  # noqa: PLW0603 - one lazily read value per process
    if _cached is None:
        _cached = _read(getattr(settings, "SAGAS", {}))
    return _cached


def _read(given: dict[str, Any]) -> SagaSettings:
    known = {declared.name.upper(): declared for declared in fields(SagaSettings)}
    if unknown := sorted(set(given) - set(known)):
        raise ImproperlyConfigured(
            f"SAGAS has unknown settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    defaults = SagaSettings()
    values: dict[str, Any] = {}
    for name, value in given.items():
        attribute = known[name].name
        expected = type(getattr(defaults, attribute))
        if type(value) is not expected:
            raise ImproperlyConfigured(f"SAGAS[{name!r}] must be a {expected.__name__}, not a {type(value).__name__}.")
        values[attribute] = value
    return SagaSettings(**values)


def _forget(*, setting: str, **_: Any) -> None:
    global _cached  # noqa: PLW0603 - one lazily read value per process
    if setting == "SAGAS":
        _cached = None


setting_changed.connect(_forget, dispatch_uid="sagas.conf")
