"""System checks of the functions that settings name by a dotted path: are they called as they can be called?"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from . import shapes
from .checks import TAG, AppConfigs, read_settings


@register(TAG)
def check_functions(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report hooks and a doorbell of the wrong shape (E026); E003 and E016 report those that are no functions."""
    settings = read_settings()
    if settings is None:
        return []
    named = [("DOORBELL", settings.doorbell, "a saga's id and a queue", 2)]
    named += [("ON_ATTENTION", path, "one sagas.alerts.Alert", 1) for path in settings.on_attention]
    found: list[CheckMessage] = []
    for setting, path, takes, arguments in named:
        try:
            function = import_string(path)
        except (ImportError, AttributeError, TypeError):
            continue
        if callable(function) and (mistake := shapes.find_mistake(function, takes=takes, arguments=arguments)):
            what = f"SAGAS[{setting!r}] names {path!r}, which cannot be called as it is: {mistake}"
            found.append(Error(what, hint=f"Name a normal function of {takes}.", id=f"{TAG}.E026"))
    return found
