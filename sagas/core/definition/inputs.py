"""Inputs of sagas: strict conversion to JSON and back.

An input is a frozen dataclass of references: order numbers, SKUs, amounts. Other data (names, addresses, cards) stay
with the participant that owns them. Pure: no Django import.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from ...exceptions import DefinitionError, InputRefused, describe_error
from ..json_values import require_storable
from ..redaction.redactor import DEFAULT, Redactor

SCALARS: tuple[type, ...] = (str, bool, int, float)
MAX_INPUT_BYTES = 64 * 1024  # a saga row is read at every step; larger data belong to their participant
MAX_PLACES_SHOWN = 5


def describe(schema: type | None) -> Any:
    """Return the schema as plain data, for the digest of a definition.

    Shape: ``[[field, type], ...]`` with nested dataclasses expanded; None when the saga takes no input.
    """
    if schema is None:
        return None
    hints = typing.get_type_hints(schema)
    return [[field.name, _describe_type(hints[field.name])] for field in dataclasses.fields(schema)]


def check_schema(schema: Any, where: str = "Meta.input") -> None:
    """Check that a class can be the input of a saga, or the schema of an event.

    Raises: DefinitionError when it is not a frozen dataclass, or has a field that JSON cannot carry or that is named
    like a secret.
    """
    if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)):
        raise DefinitionError(f"{where} must be a frozen dataclass, not {schema!r}.")
    _check_frozen(schema, where)
    _check_fields(schema, ())


def dump(schema: type | None, value: Any, redactor: Redactor = DEFAULT) -> dict[str, Any]:
    """Return the input as JSON-able data.

    Later steps need it unchanged, so secrets are refused instead of masked.
    Raises: InputRefused when the value is not an instance of the schema, a field has the wrong type, a key or a value
    looks like a secret, a text cannot be stored, the input is larger than MAX_INPUT_BYTES, or it would be read back
    differently.
    """
    if schema is None:
        if value is not None:
            raise InputRefused("This saga declares no input, but one was given; add Meta.input or start it with None.")
        return {}
    if not isinstance(value, schema):
        raise InputRefused(f"The input must be a {schema.__name__}, not {type(value).__name__}.")
    data = {field.name: _dump(getattr(value, field.name)) for field in dataclasses.fields(schema)}
    read = load(schema, data)
    refuse_secrets(data, "The input", redactor)
    require_storable(data, "The input", MAX_INPUT_BYTES)
    _require_same(value, read, schema.__name__)
    return data


def load(schema: type | None, data: Mapping[str, Any]) -> Any:
    """Return the typed input from its JSON form.

    Returns: None when the saga takes no input.
    Raises: InputRefused when the data do not fit the schema, or its class raises.
    """
    if schema is None:
        return None
    return _load_dataclass(schema, data, schema.__name__)


def refuse_secrets(data: Any, what: str, redactor: Redactor) -> None:
    """Check that nothing in JSON-able data looks like a secret.

    Raises: InputRefused, which names places and kinds of secrets, never their values.
    """
    if found := redactor.find(data):
        places = ", ".join(f"{finding.path} ({finding.kind})" for finding in found[:MAX_PLACES_SHOWN])
        raise InputRefused(
            f"{what} holds what looks like a secret: {places}. Pass a reference instead. If it is not a"
            " secret, add the key to SAGAS['REDACT_EXCEPT']."
        )


def _check_frozen(schema: Any, where: str) -> None:
    if not schema.__dataclass_params__.frozen:
        raise DefinitionError(f"{where} {schema.__name__} must be a frozen dataclass: write @dataclass(frozen=True).")


def _check_fields(schema: type, outer: tuple[type, ...]) -> None:
    name = schema.__name__
    if schema in outer:
        raise DefinitionError(f"{name} contains itself; an input has a fixed depth. Give a list of references instead.")
    try:
        hints = typing.get_type_hints(schema)
    except Exception as error:
        raise DefinitionError(
            f"The types of {name} cannot be read ({describe_error(error)}). Name only what its module can import, and"
            " declare the class there, not in a function."
        ) from error
    if passed := [key for key, hint in hints.items() if isinstance(hint, dataclasses.InitVar)]:
        raise DefinitionError(f"{name}.{passed[0]} is an InitVar, which is not stored: make it a field.")
    for field in dataclasses.fields(schema):
        if DEFAULT.is_secret_name(field.name):
            raise DefinitionError(f"{name}.{field.name} looks like a secret; inputs hold references only.")
        if not field.init:
            raise DefinitionError(f"{name}.{field.name} has init=False, so it cannot be read back: make it a property.")
        _check_type(hints[field.name], f"{name}.{field.name}", (*outer, schema))


def _require_same(given: Any, read: Any, where: str) -> None:
    """Check that the input read back equals the one that was given, value for value.

    A class may change its own fields, and the classes of a union may look alike as JSON.
    Raises: InputRefused.
    """
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        if type(given) is not type(read):
            raise InputRefused(
                f"{where} is a {type(given).__name__}, but would be read back as a {type(read).__name__}: give the"
                " classes of the union different field names."
            )
        for field in dataclasses.fields(given):
            _require_same(getattr(given, field.name), getattr(read, field.name), f"{where}.{field.name}")
    elif isinstance(given, dict):
        for key, value in given.items():
            _require_same(value, read[key], f"{where}.{key}")
    elif isinstance(given, list | tuple):
        for place, (one, other) in enumerate(zip(given, read, strict=True)):
            _require_same(one, other, f"{where}[{place}]")
    elif given != read:
        raise InputRefused(
            f"{where} is {given!r:.100}, but would be read back as {read!r:.100}: its class changes it in __init__ or"
            " __post_init__ each time, or its type cannot hold it."
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


def _check_type(hint: Any, where: str, outer: tuple[type, ...]) -> None:
    if hint in SCALARS or hint is type(None) or hint is Ellipsis:
        return
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        _check_frozen(hint, where)
        _check_fields(hint, outer)
        return
    origin = typing.get_origin(hint)
    if _is_union(origin) or origin in (tuple, list):
        for argument in typing.get_args(hint):
            _check_type(argument, where, outer)
        return
    if origin is dict and typing.get_args(hint)[0] is str:
        _check_type(typing.get_args(hint)[1], where, outer)
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
    hints = _hints_of(schema)
    if unknown := sorted(data.keys() - hints.keys()):
        raise InputRefused(f"{where} has unknown fields: {', '.join(map(str, unknown))}.")
    values = {name: _load(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return schema(**values)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The project's class may check more than it did when the saga was started. SystemExit would otherwise end
        # each worker that claims this saga, one after the other.
        raise InputRefused(f"{where}: {describe_error(error)}") from error


@cache
def _hints_of(schema: type) -> dict[str, Any]:
    """Return the type of each field; resolving the types takes longer than reading the values."""
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


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
        return _read_float(value, where)
    if hint is type(None) and value is None:
        return None
    if hint in SCALARS and type(value) is hint:
        return value
    raise InputRefused(f"{where} must be {getattr(hint, '__name__', hint)}, not {type(value).__name__}.")


def _read_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputRefused(f"{where} is out of range for a float.") from None


def _load_dict(hint: Any, value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise InputRefused(f"{where} has the key {key!r:.100}, a {type(key).__name__}; keys must be strings.")
    return {key: _load(hint, item, where) for key, item in value.items()}


def _load_union(hint: Any, value: Any, where: str) -> Any:
    # An exact type first: in a union of int and float, an int stays an int.
    exact = [argument for argument in typing.get_args(hint) if argument is type(value)]
    for argument in [*exact, *typing.get_args(hint)]:
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
