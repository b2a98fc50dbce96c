"""System checks of hooks and of functions named in settings: their signature and their time limit."""

from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from ..core.definition import function_shapes, registry
from ..engine.notify import wakeup_sending
from . import timings
from .checks import TAG, AppConfigs, read_settings


@register(TAG)
def check_functions(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report hooks and a ``WAKEUP`` of the wrong shape (E026); E003 and E016 report those that are no functions."""
    settings = read_settings()
    if settings is None:
        return []
    named = [("WAKEUP", settings.wakeup, "a saga's id and a queue", 2)]
    named += [("ON_ATTENTION", path, "one sagas.alerts.Alert", 1) for path in settings.on_attention]
    found: list[CheckMessage] = []
    for setting, path, takes, arguments in named:
        try:
            function = (wakeup_sending.find_sender if setting == "WAKEUP" else import_string)(path)
        except (ImportError, AttributeError, TypeError):
            continue
        if callable(function) and (mistake := function_shapes.find_mistake(function, takes=takes, arguments=arguments)):
            what = f"SAGAS[{setting!r}] names {path!r}, which cannot be called as it is: {mistake}"
            found.append(Error(what, hint=f"Name a normal function of {takes}.", id=f"{TAG}.E026"))
    return found


@register(TAG)
def check_hook_timeout(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a task_time_limit that would kill a worker while it waits for an on_closed hook (W010)."""
    settings, limit = read_settings(), current_app.conf.task_time_limit
    if settings is None or limit is None or not any(found.on_closed for found in registry.all_definitions()):
        return []
    timeout, whose = timings.find_longest_timeout(settings)
    needed = (settings.time_slice + timeout + settings.hook_timeout).total_seconds()
    if limit > needed:
        return []
    what = (
        f"Celery's task_time_limit is {limit:g} s, but a task may take SAGAS['TIME_SLICE'], the time-out of {whose} and"
        f" SAGAS['HOOK_TIMEOUT'] one after the other: {needed:g} s."
    )
    return [Warning(what, hint="Make task_time_limit longer, or the others shorter.", id=f"{TAG}.W010")]
