"""Turn the input of a saga into JSON and back, strictly.

An input is a frozen dataclass of references: order numbers, SKUs, amounts. Everything else (people, addresses,
cards) stays with the participant that owns it. Pure: no Django import.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from .exceptions import DefinitionError, InputRefused, describe_error
from .json_values import require_storable
from .redaction import DEFAULT, Redactor

SCALARS: tuple[type, ...] = (str, bool, int, float)
MAX_INPUT_BYTES = 64 * 1024  # a saga row is read at every step; larger facts belong to their participant
MAX_PLACES_TOLD = 5


def describe(schema: type | None) -> Any:
    """Return the schema as plain data, for the digest of a definition.

    Shape: ``[[field, type], ...]`` with nested dataclasses expanded, None when the saga takes no input.
    """
    if schema is None:
        return None
    hints = typing.get_type_hints(schema)
    return [[field.name, _describe_type(hints[field.name])] for field in dataclasses.fields(schema)]


def check_schema(schema: Any) -> None:
    """Check that a class can be the input of a saga.

    Raises: DefinitionError when it is not a frozen dataclass, has a field that JSON cannot carry, or one named like
    a secret.
    """
    if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)):
        raise DefinitionError(f"Meta.input must be a frozen dataclass, not {schema!r}.")
    if not schema.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise DefinitionError(
            f"Meta.input {schema.__name__} must be a frozen dataclass: write @dataclass(frozen=True)."
        )
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if DEFAULT.is_secret_name(field.name):
            raise DefinitionError(f"{schema.__name__}.{field.name} looks like a secret; inputs hold references only.")
        _check_type(hints[field.name], f"{schema.__name__}.{field.name}")


def dump(schema: type | None, value: Any, redactor: Redactor = DEFAULT) -> dict[str, Any]:
    """Return the input as JSON-able data.

    Later steps need it as it is, so nothing in it is masked: what would have to be is refused.
    Raises: InputRefused when the value is not an instance of the schema, a field has the wrong type, a key or a value
    looks like a secret, a text cannot be stored, or the whole is larger than MAX_INPUT_BYTES.
    """
    if schema is None:
        if value is not None:
            raise InputRefused("This saga declares no input, but one was given; add Meta.input or start it with None.")
        return {}
    if not isinstance(value, schema):
        raise InputRefused(f"The input must be a {schema.__name__}, not {type(value).__name__}.")
    data = {field.name: _dump(getattr(value, field.name)) for field in dataclasses.fields(schema)}
    load(schema, data)
    refuse_secrets(data, "The input", redactor)
    require_storable(data, "The input", MAX_INPUT_BYTES)
    return data


def load(schema: type | None, data: Mapping[str, Any]) -> Any:
    """Return the typed input from its JSON form.

    Returns: None when the saga takes no input.
    Raises: InputRefused when the data do not fit the schema.
    """
    if schema is None:
        return None
    return _load_dataclass(schema, data, schema.__name__)


def refuse_secrets(data: Any, what: str, redactor: Redactor) -> None:
    """Check that nothing in JSON-able data looks like a secret.

    Raises: InputRefused that says where and what kind, never what.
    """
    if found := redactor.find(data):
        places = ", ".join(f"{finding.path} ({finding.kind})" for finding in found[:MAX_PLACES_TOLD])
        raise InputRefused(
            f"{what} holds what looks like a secret: {places}. Pass a reference to it instead; if it is none, name the"
            " key in SAGAS['REDACT_EXCEPT']."
        )


def _describe_type(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return describe(hint)
    if arguments := typing.get_args(hint):
        origin = typing.get_origin(hint)
        name = "union" if _is_union(origin) else origin.__name__
        return [name, *[_describe_type(argument) for argument in arguments]]
    return getattr(hint, "__name__", str(hint))


def _is_union(origin: Any) -> bool:
    return origin is typing.Union or origin is types.UnionType


def _check_type(hint: Any, where: str) -> None:
    if hint in SCALARS or hint is type(None) or hint is Ellipsis:
        return
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        check_schema(hint)
        return
    origin = typing.get_origin(hint)
    if _is_union(origin) or origin in (tuple, list):
        for argument in typing.get_args(hint):
            _check_type(argument, where)
        return
    if origin is dict and typing.get_args(hint)[0] is str:
        _check_type(typing.get_args(hint)[1], where)
        return
    raise DefinitionError(
        f"{where} has type {hint!r}; inputs hold str, int, bool, float, None, lists, tuples, dicts with str keys"
        " and frozen dataclasses of these."
    )


def _dump(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_dump(item) for item in value]
    if isinstance(value, dict):
        return {key: _dump(item) for key, item in value.items()}
    return value


def _load_dataclass(schema: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputRefused(f"{where} must be an object, not {type(data).__name__}.")
    hints = typing.get_type_hints(schema)
    names = {field.name for field in dataclasses.fields(schema)}
    if unknown := sorted(set(data) - names):
        raise InputRefused(f"{where} has unknown fields: {', '.join(map(str, unknown))}.")
    values = {name: _load(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return schema(**values)
    except Exception as error:
        # The class is the project's: it may check more than it did when the saga was started.
        raise InputRefused(f"{where}: {describe_error(error)}") from error


def _load(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _load_dataclass(hint, value, where)
    if _is_union(origin):
        return _load_union(hint, value, where)
    if origin is list and isinstance(value, list):
        return [_load(typing.get_args(hint)[0], item, where) for item in value]
    if origin is tuple and isinstance(value, list):
        return _load_tuple(hint, value, where)
    if origin is dict and isinstance(value, Mapping):
        return _load_dict(typing.get_args(hint)[1], value, where)
    if hint is float and type(value) is int:
        return float(value)
    if hint is type(None) and value is None:
        return None
    if hint in SCALARS and type(value) is hint:
        return value
    raise InputRefused(f"{where} must be {getattr(hint, '__name__', hint)}, not {type(value).__name__}.")


def _load_dict(hint: Any, value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise InputRefused(f"{where} has the key {key!r:.100}, a {type(key).__name__}; keys are texts.")
    return {key: _load(hint, item, where) for key, item in value.items()}


def _load_union(hint: Any, value: Any, where: str) -> Any:
    for argument in typing.get_args(hint):
        try:
            return _load(argument, value, where)
        except InputRefused:
            continue
    raise InputRefused(f"{where} must be {hint}, not {type(value).__name__}.")


def _load_tuple(hint: Any, value: list[Any], where: str) -> tuple[Any, ...]:
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_load(arguments[0], item, where) for item in value)
    if len(arguments) != len(value):
        raise InputRefused(f"{where} must have {len(arguments)} items, not {len(value)}.")
    return tuple(_load(argument, item, where) for argument, item in zip(arguments, value, strict=True))
