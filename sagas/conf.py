"""Read the engine's settings, one dict ``SAGAS`` in the project's settings, lazily and with defaults."""

from __future__ import annotations

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

HOURLY_SECONDS = 3600.0  # compensations never end for want of attempts; hourly hurts no participant


@dataclass(frozen=True, kw_only=True)
class SagaSettings:
    """Hold every engine setting; the names in ``SAGAS`` are these in upper case."""

    database: str = "default"
    """Alias of the engine's database."""
    default_queue: str = ""
    """Queue of steps that name none; empty: Celery's ``task_default_queue``, which a worker serves unless told else."""
    wakeup: str = "celery"
    """Who sends wake-ups: ``celery``; ``none``, which leaves everything to the sweep; or a function's dotted path."""
    wakeup_capacity: int = 10_000
    """How many wake-ups one process keeps for a slow broker; more are dropped and left to the sweep."""
    timeout: timedelta = timedelta(seconds=10)
    """How long one attempt may take, for steps that say nothing else."""
    lease_margin: timedelta = timedelta(seconds=20)
    """How much longer than the time-out an attempt's lease lasts."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """Budget and delays of actions that name none."""
    compensation_retry: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(attempts=10, after_budget=HOURLY_SECONDS)
    )
    """Budget and delays of compensations that name none: attempts go on hourly for ever."""
    poll_after: timedelta = timedelta(seconds=5)
    """When a step in progress is asked again if it names no time."""
    hook_timeout: timedelta = timedelta(seconds=10)
    """How long a worker waits for a hook of ``Meta.on_closed``; one that takes longer is called again."""
    time_slice: timedelta = timedelta(seconds=10)
    """How long one task keeps working on its saga before it sends a wake-up for another."""
    wakeup_interval: timedelta = timedelta(seconds=5)
    """A due saga is woken at most this often over all sweepers."""
    sweep_interval: timedelta = timedelta(seconds=2)
    """How often a worker sweeps."""
    sweep_runs: bool = False
    """Whether a worker's sweeper executes what is due, one saga after the other, while no wake-up can come in."""
    sweep_page: int = 200
    """How many due sagas one sweep wakes."""
    result_max_bytes: int = 64 * 1024
    """The largest result of a step that is stored."""
    barrier_retention: timedelta = timedelta(days=90)
    """How long tombstones and stored results outlive anything that could still be delivered."""
    access_retention: timedelta = timedelta(days=400)
    """How long it is kept who saw payloads, and who confirmed and stopped a bulk."""
    worker_seen_within: timedelta = timedelta(seconds=30)
    """A sweeper not seen for this long counts as gone."""
    signing_keys: list[str] = field(default_factory=list)
    """Secrets that sign operations: the first one signs, all verify. None: Django's SECRET_KEY and its fallbacks."""
    bulk_rate: int = 20
    """On how many sagas a second one bulk acts, over all workers."""
    bulk_max: int = 100_000
    """How many sagas one bulk may have; a larger set is refused. Freezing 100,000 took 5 s on two busy cores."""
    bulk_confirm_within: timedelta = timedelta(hours=1)
    """How long after its sagas were frozen a bulk may be confirmed."""
    on_attention: list[str] = field(default_factory=list)
    """Dotted paths of functions of one ``sagas.alerts.Alert``, called when a saga begins to need a person."""
    console_url: str = ""
    """Where the admin is, for links in alerts: ``https://shop.example.com/admin/``."""
    alert_timeout: timedelta = timedelta(seconds=5)
    """How long the senders of ``sagas.alerts`` wait for a mail server or a webhook."""
    alert_emails: list[str] = field(default_factory=list)
    """Who gets the mails of ``sagas.alerts.send_mail``; nobody: Django's ADMINS."""
    alert_webhook_url: str = field(default="", repr=False)
    """Where ``sagas.alerts.send_webhook`` posts to."""
    alert_webhook_secret: str = field(default="", repr=False)
    """What it signs with; empty: no signature."""
    redact_keys: list[str] = field(default_factory=list)
    """More names, or parts of names, whose values are secrets and are stored nowhere."""
    redact_patterns: dict[str, str] = field(default_factory=dict)
    """More shapes of secrets: regular expressions by what the mask shall say, such as ``{"badge number": ...}``."""
    redact_except: list[str] = field(default_factory=list)
    """Names whose values are no secrets, whatever they look like."""

    @cached_property
    def redactor(self) -> Redactor:
        """What everything goes through before it is stored."""
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
        """Return how long one attempt may take."""
        own = step.timeout if direction is Direction.ACTION else step.compensation_timeout or step.timeout
        return own or self.timeout

    def queue_of(self, step: Step) -> str:
        """Return the queue that serves a step."""
        return step.queue or self.common_queue

    @property
    def common_queue(self) -> str:
        """The queue of steps that name none, asked for anew: Celery's app may be made after this was read."""
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
