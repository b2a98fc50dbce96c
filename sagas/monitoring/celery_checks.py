"""Django system checks of Celery settings that stop wake-ups.

A project may set anything for its own tasks, as long as a wake-up is published, reaches its queue and is executed.
"""

from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning, register

from ..conf import SagaSettings
from ..core.definition import registry
from ..engine.notify import celery_apps, wakeup_sending
from . import timings
from .checks import TAG, AppConfigs, read_settings


@register(TAG)
def check_accepted_content(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report an ``accept_content`` that keeps workers from reading a wake-up (E022)."""
    if _read_sending_settings() is None or timings.accepts_wakeups():
        return []
    what = (
        f"Celery's accept_content is {current_app.conf.accept_content!r}: workers refuse every wake-up, which is JSON."
    )
    hint = (
        "Add 'json' to CELERY_ACCEPT_CONTENT, a list; a wake-up carries an id and nothing else, so it needs neither"
        " pickle nor a signature. Or set SAGAS['WAKEUP'] to 'none' and run saga_sweep"
        " --loop --run."
    )
    return [_error("E022", what, hint)]


@register(TAG)
def check_routes(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report ``task_routes`` that send wake-ups to another queue than the woken one (E023)."""
    settings = _read_sending_settings()
    if settings is None:
        return []
    hint = "Leave sagas.advance out of task_routes: steps name their queues themselves, or SAGAS['DEFAULT_QUEUE'] does."
    faults = {queue: celery_apps.find_route_fault(queue) for queue in {settings.common_queue, *registry.queues()}}
    return [
        _error("E023", f"Wake-ups for queue {queue!r} {fault}.", hint)
        for queue, fault in sorted(faults.items())
        if fault
    ]


@register(TAG)
def check_application(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report that this process would send wake-ups through none, or either of two, of the project's apps (W008)."""
    if _read_sending_settings() is None:
        return []
    current, default = celery_apps.read_names()
    if celery_apps.is_fallback():
        what = "No Celery application is set up here: wake-ups go to the broker of Celery's own defaults."
        hint = "Import the module that makes your application in the __init__.py of the project's package."
        return [_warning("W008", what, hint)]
    if default is not None:
        what = (
            f"Two Celery applications are set up here: this thread sends wake-ups through {current!r}, others"
            f" {default!r}."
        )
        hint = "Call set_default() on the one whose workers run sagas, and make it the current one: set_current()."
        return [_warning("W008", what, hint)]
    return []


@register(TAG)
def check_rate_limit(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a rate limit that delays wake-ups (W009)."""
    if _read_sending_settings() is None:
        return []
    rate = timings.read_task_option("rate_limit", current_app.conf.task_default_rate_limit)
    if not rate:
        return []
    what = f"Celery's rate limit {rate!r} applies to sagas.advance: every step of every saga waits for it."
    hint = "Exempt the engine's task: CELERY_TASK_ANNOTATIONS = {'sagas.advance': {'rate_limit': None}}."
    return [_warning("W009", what, hint)]


@register(TAG, deploy=True)
def check_celery_for_production(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report settings meant for tests and development (W007): eager Celery, and an in-process broker."""
    if _read_sending_settings() is None:
        return []
    found: list[CheckMessage] = []
    if current_app.conf.task_always_eager:
        what = "Celery is eager: sagas run in the processes that start them, and no worker executes what is due later."
        found.append(_warning("W007", what, "Set CELERY_TASK_ALWAYS_EAGER to False and start workers."))
    elif str(current_app.conf.broker_write_url or current_app.conf.broker_url or "").startswith("memory:"):
        what = "Celery's broker is in memory: wake-ups never leave the process that makes them."
        hint = "Set CELERY_BROKER_URL, or set SAGAS['WAKEUP'] to 'none' to run without a broker."
        found.append(_warning("W007", what, hint))
    return found


def _read_sending_settings() -> SagaSettings | None:
    """Return the settings, or None if they cannot be read or wake-ups are not sent by Celery."""
    settings = read_settings()
    return settings if settings is not None and settings.wakeup == wakeup_sending.BY_CELERY else None


def _error(number: str, what: str, hint: str) -> CheckMessage:
    return Error(what, hint=hint, id=f"{TAG}.{number}")


def _warning(number: str, what: str, hint: str) -> CheckMessage:
    return Warning(what, hint=hint, id=f"{TAG}.{number}")
