"""Data of events: from dataclasses to JSON and back.

On the wire, names are in camelCase, as in nearly every service that reads JSON: ``order_id`` is ``orderId``. Reading is
tolerant where evolution needs it (unknown fields are ignored) and strict in everything else. Pure: no Django import.

Source: Postel's law as in Fowler, "TolerantReader".
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.definition import inputs
from ..exceptions import DefinitionError, InputRefused
from .errors import EventRefused

PERSONAL = "personal"
"""Mark of a field with personal data."""


def check(schema: type, where: str) -> None:
    """Check that a class can be the schema of an event.

    Raises: DefinitionError.
    """
    inputs.check_schema(schema, where)
    if not dataclasses.fields(schema):
        raise DefinitionError(f"{where} has no field: an event says at least what it is about.")
    names = [to_wire_name(found.name) for found in dataclasses.fields(schema)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DefinitionError(f"{where} has two fields that are both called {twice[0]} on the wire.")
    _check_unions(schema, where)


def _check_unions(schema: type, where: str) -> None:
    """Check that JSON can tell the types of each union apart; unknown fields are ignored, so two classes look alike.

    Raises: DefinitionError.
    """
    for name, hint in typing.get_type_hints(schema).items():
        for part in _list_parts(hint):
            arguments = typing.get_args(part)
            if is_union(part) and max(sum(map(is_kind, arguments)) for is_kind in (is_object, is_array)) > 1:
                raise DefinitionError(
                    f"{where}: {name} has type {part!r}, whose forms cannot be told apart in JSON. Use one class with"
                    " optional fields."
                )


def to_wire_name(name: str) -> str:
    """Return a field's name on the wire: ``order_id`` is ``orderId``."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def dump(event: Any) -> dict[str, Any]:
    """Return the data of an event as they go over the wire."""
    return {to_wire_name(found.name): _dump(getattr(event, found.name)) for found in dataclasses.fields(type(event))}


def load(schema: type, data: Mapping[str, Any]) -> Any:
    """Return the event from its data; unknown fields are ignored.

    Raises: EventRefused, which names the field.
    """
    try:
        return inputs.load(schema, _pick(schema, data))
    except InputRefused as error:
        raise EventRefused(str(error)) from error


def personal_paths(schema: type, prefix: str = "") -> list[str]:
    """Return the wire paths of all fields with personal data: ``["address", "lines[].note"]``."""
    found = []
    hints = typing.get_type_hints(schema, include_extras=True)
    for declared in dataclasses.fields(schema):
        hint = hints[declared.name]
        path = prefix + to_wire_name(declared.name)
        if PERSONAL in getattr(hint, "__metadata__", ()):
            found.append(path)
            continue
        for inner, suffix in _inner_schemas(hint):
            found += personal_paths(inner, f"{path}{suffix}.")
    return found


def _inner_schemas(hint: Any, suffix: str = "") -> list[tuple[type, str]]:
    hint = _bare(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [(hint, suffix)]
    origin = typing.get_origin(hint)
    if origin in (list, tuple):
        suffix += "[]"
    if origin is dict:
        suffix += ".*"
    return [found for argument in typing.get_args(hint) for found in _inner_schemas(argument, suffix)]


def _bare(hint: Any) -> Any:
    """Return a type without its annotations."""
    return hint.__origin__ if typing.get_origin(hint) is typing.Annotated else hint


def _dump(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dump(value)
    if isinstance(value, list | tuple):
        return [_dump(item) for item in value]
    if isinstance(value, dict):
        return {key: _dump(item) for key, item in value.items()}
    return value


def _pick(hint: Any, value: Any) -> Any:
    """Return data with Python's field names, without unknown fields; whether they fit is checked by ``inputs.load``."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return value
        hints = typing.get_type_hints(hint)
        names = {to_wire_name(found.name): found.name for found in dataclasses.fields(hint)}
        return {names[name]: _pick(hints[names[name]], item) for name, item in value.items() if name in names}
    if origin is list and isinstance(value, list):
        return [_pick(typing.get_args(hint)[0], item) for item in value]
    if origin is tuple and isinstance(value, list):
        return _pick_tuple(hint, value)
    if origin is dict and isinstance(value, Mapping):
        return {key: _pick(typing.get_args(hint)[1], item) for key, item in value.items()}
    if is_union(hint):
        is_kind = is_object if isinstance(value, Mapping) else is_array
        return _pick(next(filter(is_kind, typing.get_args(hint)), None), value)
    return value


def _pick_tuple(hint: Any, value: list[Any]) -> list[Any]:
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return [_pick(arguments[0], item) for item in value]
    return [_pick(argument, item) for argument, item in zip(arguments, value, strict=False)] + value[len(arguments) :]


def is_union(hint: Any) -> bool:
    """Return whether a type is a union."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def is_object(hint: Any) -> bool:
    """Return whether values of a type are JSON objects."""
    return typing.get_origin(hint) is dict or dataclasses.is_dataclass(hint)


def is_array(hint: Any) -> bool:
    """Return whether values of a type are JSON arrays."""
    return typing.get_origin(hint) in (list, tuple)


def _list_parts(hint: Any) -> Iterator[Any]:
    """Yield a type and everything in it, also in the fields of its dataclasses."""
    yield hint
    inner = typing.get_type_hints(hint).values() if dataclasses.is_dataclass(hint) else typing.get_args(hint)
    for part in inner:
        yield from _list_parts(part)
