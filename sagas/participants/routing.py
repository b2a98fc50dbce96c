"""Databases of participants: the one that a step works on, and all that hold a barrier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections, router

from ..conf import get_settings
from ..exceptions import Misconfigured, describe_error
from ..models import SagaBarrier

if TYPE_CHECKING:
    from ..core.definition.saga import SagaDefinition
    from ..core.definition.steps import Step


def participant_label(definition: type[SagaDefinition], step: Step) -> str:
    """Return the app label of a step's participant: what it declares, else the definition's own app.

    Returns: an empty string when the definition is in no app.
    """
    if step.participant is not None:
        return step.participant
    config = apps.get_containing_app_config(definition.__module__)
    return config.label if config is not None else ""


def participant_database(definition: type[SagaDefinition], step: Step) -> str:
    """Return the alias that the router gives for writes of the step's participant.

    Returns: the engine's alias for an app that is unknown (a system check reports it) or has no models.
    """
    label = participant_label(definition, step)
    if label in apps.app_configs:
        for model in apps.get_app_config(label).get_models():
            return router.db_for_write(model)
    return get_settings().database


def require_participant_database(definition: type[SagaDefinition], step: Step) -> str:
    """Return the alias that the project's routers give for writes of the step's participant, once checked.

    Raises: Misconfigured when a router raises, or gives an alias that is not in DATABASES.
    """
    where = f"the participant {participant_label(definition, step)!r} of step {step.name}"
    try:
        alias = participant_database(definition, step)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Misconfigured(f"A database router failed for {where}: {describe_error(error)}") from error
    if alias not in connections.settings:
        raise Misconfigured(f"A database router names {alias!r} for {where}, which is not in DATABASES.")
    return alias


def runs_in_engine_database(definition: type[SagaDefinition] | None, step: Step) -> bool:
    """Return whether the step's participant uses the engine's database; False if a router fails."""
    if definition is None:
        return False
    try:
        return require_participant_database(definition, step) == get_settings().database
    except Misconfigured:
        return False


def barrier_databases() -> list[str]:
    """Return the aliases that hold a barrier table according to the project's routers, the engine's first.

    An alias that no model is written to is a replica, so it is left out.
    """
    own = get_settings().database
    written = {router.db_for_write(model) for model in apps.get_models()}
    aliases = [alias for alias in connections if alias in written and router.allow_migrate_model(alias, SagaBarrier)]
    return sorted({own, *aliases}, key=lambda alias: (alias != own, alias))
