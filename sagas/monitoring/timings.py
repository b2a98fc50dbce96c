"""Consistency of the times in settings, definitions and Celery; for the system checks and the doctor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from celery import current_app
from kombu.exceptions import SerializerNotInstalled
from kombu.serialization import prepare_accept_content

from ..conf import SagaSettings
from ..core.definition import registry
from ..core.definition.options import QUEUE_NAME
from ..core.states import Direction
from ..engine.notify.celery_apps import CONTENT_TYPE

ZERO = timedelta()
# Zero is meaningful for these: no lease margin, poll again at once.
MAY_BE_ZERO = frozenset({"lease_margin", "poll_after"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Inconsistency, and what to do about it."""

    what: str
    todo: str
    is_error: bool = True
    """Whether it breaks a rule; otherwise it is a warning."""


def find_wrong_values(settings: SagaSettings) -> Iterator[Problem]:
    """Yield settings whose values cannot work in any project."""
    for declared in fields(settings):
        name, value = declared.name.upper(), getattr(settings, declared.name)
        if isinstance(value, timedelta) and (value < ZERO or (value == ZERO and declared.name not in MAY_BE_ZERO)):
            yield Problem(what=f"SAGAS[{name!r}] is {_seconds(value)}.", todo="a positive timedelta.")
        elif isinstance(value, int) and not isinstance(value, bool) and value < 1:
            yield Problem(what=f"SAGAS[{name!r}] is {value}.", todo="a whole number from 1.")
    if not QUEUE_NAME.fullmatch(settings.common_queue):
        yield Problem(
            what=f"{name_of_common_queue(settings)} is {settings.common_queue!r}.",
            todo="DEFAULT_QUEUE is a queue name, such as 'sagas'.",
        )


def name_of_common_queue(settings: SagaSettings) -> str:
    """Return the name of the setting with the queue of steps that name none."""
    return "SAGAS['DEFAULT_QUEUE']" if settings.default_queue else "Celery's task_default_queue"


def find_disorder(settings: SagaSettings) -> list[Problem]:
    """Return times that are too short compared with others."""
    return [*_check_lease(settings), *_check_celery(settings), *_check_watch(settings), *_check_retention(settings)]


def find_longest_timeout(settings: SagaSettings) -> tuple[timedelta, str]:
    """Return the longest time limit of an attempt, and its step; ``TIMEOUT`` if no step has a longer one."""
    found = [(settings.timeout, "SAGAS['TIMEOUT']")]
    for definition in registry.all_definitions():
        for step in definition.steps:
            found += [
                (
                    settings.attempt_timeout(step, direction),
                    f"step {step.name} of {definition.name}@{definition.version}",
                )
                for direction in Direction
                if step.function(direction) is not None
            ]
    return max(found, key=lambda pair: pair[0])


def read_declared_queues() -> frozenset[str] | None:
    """Return the queues that Celery publishes into, or None if it creates missing ones."""
    conf = current_app.conf
    if conf.task_create_missing_queues:
        return None
    queues = conf.task_queues
    if not queues:
        return frozenset({conf.task_default_queue})
    if isinstance(queues, Mapping):
        return frozenset(queues)
    return frozenset(getattr(queue, "name", queue) for queue in queues)


def accepts_wakeups() -> bool:
    """Return whether a worker with Celery's current settings accepts JSON, the format of all wake-ups."""
    try:
        accepted = prepare_accept_content(current_app.conf.accept_content)
    except SerializerNotInstalled:
        return False
    return accepted is None or CONTENT_TYPE in accepted


def _check_lease(settings: SagaSettings) -> Iterator[Problem]:
    """Check that an attempt that uses its whole time-out can still be recorded under its lease (rule S2)."""
    if settings.lease_margin <= ZERO:
        yield Problem(
            what="SAGAS['LEASE_MARGIN'] is 0: an attempt that uses its whole time-out loses its lease unrecorded.",
            todo="Make it longer than recording takes when the database restarts, such as 20 seconds.",
        )


def _check_celery(settings: SagaSettings) -> Iterator[Problem]:
    """Check that Celery's time limits exceed those of the engine (rule S2)."""
    conf = current_app.conf
    timeout, whose = find_longest_timeout(settings)
    needed = settings.time_slice + timeout
    limits = {"time_limit": conf.task_time_limit, "soft_time_limit": conf.task_soft_time_limit}
    for name, general in limits.items():
        # As in Celery: a limit of the task that is unset or 0 leaves the general one.
        limit = read_task_option(name, None) or general
        if limit is not None and limit <= needed.total_seconds():
            yield Problem(
                what=f"Celery's task_{name} is {limit:g} s, but a task may take SAGAS['TIME_SLICE']"
                f" ({_seconds(settings.time_slice)}) and then the time-out of {whose} ({_seconds(timeout)}).",
                todo=f"Make task_{name} longer than {_seconds(needed)}, or the others shorter; for the engine's task"
                f" alone: task_annotations = {{'sagas.advance': {{{name!r}: ...}}}}.",
            )


def read_task_option(name: str, otherwise: Any) -> Any:
    """Return an option of the engine's task as ``task_annotations`` sets it."""
    task = SimpleNamespace(name="sagas.advance")
    value = otherwise
    for annotation in current_app.annotations:
        for found in (annotation.annotate_any(), annotation.annotate(task)):
            value = (found or {}).get(name, value)
    return value


def _check_watch(settings: SagaSettings) -> Iterator[Problem]:
    """Check that a working sweeper counts as seen."""
    if settings.worker_seen_within <= settings.sweep_interval:
        yield Problem(
            what=f"SAGAS['WORKER_SEEN_WITHIN'] ({_seconds(settings.worker_seen_within)}) is not longer than"
            f" SAGAS['SWEEP_INTERVAL'] ({_seconds(settings.sweep_interval)}): every worker would count as gone.",
            todo="Make WORKER_SEEN_WITHIN several sweeps long.",
        )


def _check_retention(settings: SagaSettings) -> Iterator[Problem]:
    """Check that tombstones outlive the sagas that left them (rule S4)."""
    for definition in registry.all_definitions():
        if definition.deadline is not None and definition.deadline >= settings.barrier_retention:
            yield Problem(
                what=f"SAGAS['BARRIER_RETENTION'] ({_seconds(settings.barrier_retention)}) is not longer than the"
                f" deadline of {definition.name}@{definition.version} ({_seconds(definition.deadline)}).",
                todo="Keep barrier rows longer than any saga and any message about it can last.",
                is_error=False,
            )


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
