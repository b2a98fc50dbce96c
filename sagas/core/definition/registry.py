"""Registry of saga definitions by name and version. Pure: no Django import."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...exceptions import DefinitionNotFound
from .remedies import REMEDIES
from .saga import DEFINITIONS, SagaDefinition, register

__all__ = ["all_definitions", "find", "forget", "get", "latest", "preserved", "queues", "register"]


def get(name: str, version: int) -> type[SagaDefinition]:
    """Return a definition.

    Raises: DefinitionNotFound when the code has none of this name and version.
    """
    try:
        return DEFINITIONS[name, version]
    except KeyError:
        raise DefinitionNotFound(f"The code has no saga definition {name!r} version {version}.") from None


def find(name: str, version: int) -> type[SagaDefinition] | None:
    """Return a definition, or None when the code has none of this name and version."""
    return DEFINITIONS.get((name, version))


def latest(name: str) -> type[SagaDefinition]:
    """Return the highest version of a definition.

    Raises: DefinitionNotFound.
    """
    versions = [version for known, version in DEFINITIONS if known == name]
    if not versions:
        known = ", ".join(sorted({key[0] for key in DEFINITIONS})) or "none"
        raise DefinitionNotFound(f"The code has no saga definition {name!r}; known are: {known}.")
    return DEFINITIONS[name, max(versions)]


def all_definitions() -> list[type[SagaDefinition]]:
    """Return every definition, ordered by name and version."""
    return [DEFINITIONS[key] for key in sorted(DEFINITIONS)]


def queues() -> set[str]:
    """Return the queues that steps declare, without the default one."""
    return {step.queue for definition in all_definitions() for step in definition.steps if step.queue}


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the registered definitions and remedies on exit; for tests."""
    before, remedies = dict(DEFINITIONS), dict(REMEDIES)
    try:
        yield
    finally:
        DEFINITIONS.clear()
        DEFINITIONS.update(before)
        REMEDIES.clear()
        REMEDIES.update(remedies)


def forget(name: str, version: int) -> None:
    """Remove a definition, as if the code did not have it; for tests, inside ``preserved``."""
    DEFINITIONS.pop((name, version), None)
