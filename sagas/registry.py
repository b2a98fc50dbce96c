"""Remember every saga definition by name and version. Pure: no Django import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .exceptions import DefinitionError, DefinitionNotFound

if TYPE_CHECKING:
    from .definition import SagaDefinition

_definitions: dict[tuple[str, int], type[SagaDefinition]] = {}


def register(definition: type[SagaDefinition]) -> None:
    """Remember a definition; importing the same class again replaces it.

    Raises: DefinitionError when another class has this name and version.
    """
    key = (definition.name, definition.version)
    known = _definitions.get(key)
    if known is not None and _path(known) != _path(definition):
        raise DefinitionError(
            f"{_path(definition)} and {_path(known)} are both saga {definition.name!r} version {definition.version};"
            " give one of them another name or version."
        )
    _definitions[key] = definition


def get(name: str, version: int) -> type[SagaDefinition]:
    """Return a definition.

    Raises: DefinitionNotFound when the code has no such name or version.
    """
    try:
        return _definitions[name, version]
    except KeyError:
        raise DefinitionNotFound(f"The code has no saga definition {name!r} version {version}.") from None


def find(name: str, version: int) -> type[SagaDefinition] | None:
    """Return a definition, or None when the code has none of this name and version."""
    return _definitions.get((name, version))


def latest(name: str) -> type[SagaDefinition]:
    """Return the highest version of a definition.

    Raises: DefinitionNotFound.
    """
    versions = [version for known, version in _definitions if known == name]
    if not versions:
        known = ", ".join(sorted({key[0] for key in _definitions})) or "none"
        raise DefinitionNotFound(f"The code has no saga definition {name!r}; known are: {known}.")
    return _definitions[name, max(versions)]


def all_definitions() -> list[type[SagaDefinition]]:
    """Return every definition, ordered by name and version."""
    return [_definitions[key] for key in sorted(_definitions)]


def queues() -> set[str]:
    """Return the queues that steps name for themselves, without the default one."""
    return {step.queue for definition in all_definitions() for step in definition.steps if step.queue}


@contextmanager
def preserved() -> Iterator[None]:
    """Forget on exit every definition that was registered or removed inside; for tests."""
    before = dict(_definitions)
    try:
        yield
    finally:
        _definitions.clear()
        _definitions.update(before)


def forget(name: str, version: int) -> None:
    """Remove a definition, as if the code no longer had it; for tests, inside ``preserved``."""
    _definitions.pop((name, version), None)


def _path(definition: type[SagaDefinition]) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"
