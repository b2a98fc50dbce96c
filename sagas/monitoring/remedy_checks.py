"""System check of remedies: their definition and steps exist."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from ..core.definition import registry
from ..core.definition.remedies import REMEDIES
from .checks import TAG, AppConfigs


@register(TAG)
def check_remedies(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report remedies of a definition or a step that the code does not have (E027)."""
    steps: dict[str, set[str]] = {}
    for definition in registry.all_definitions():
        steps[definition.name] = steps.get(definition.name, set()) | {step.name for step in definition.steps}
    found: list[CheckMessage] = []
    for remedy in REMEDIES.values():
        where = f"Remedy {remedy.name!r} of saga {remedy.definition!r}"
        if remedy.definition not in steps:
            hint = f"Register it for one of: {', '.join(sorted(steps)) or 'none is defined'}."
            found.append(Error(f"{where}: the code has no such definition.", hint=hint, id=f"{TAG}.E027"))
        elif unknown := [step for step in remedy.steps if step not in steps[remedy.definition]]:
            hint = f"Register it for steps of any version: {', '.join(sorted(steps[remedy.definition]))}."
            what = f"{where}: no version has the step {unknown[0]!r}."
            found.append(Error(what, hint=hint, id=f"{TAG}.E027"))
    return found
