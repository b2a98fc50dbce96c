"""JSON Schema of an event's data, as they go over the wire. Pure: no Django import.

Unknown fields are allowed, because readers ignore them.

Source: JSON Schema draft 07, which AsyncAPI 3.0 builds on.
"""

import dataclasses
import types
import typing
from typing import Any

from . import schema

SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def describe(event_class: type) -> dict[str, Any]:
    """Return the schema of a dataclass: an object whose fields without a default are required."""
    hints = typing.get_type_hints(event_class, include_extras=True)
    properties, required = {}, []
    for declared in dataclasses.fields(event_class):
        name = schema.to_wire_name(declared.name)
        properties[name] = {**_describe_hint(hints[declared.name]), **_describe_default(declared)}
        if declared.default is dataclasses.MISSING and declared.default_factory is dataclasses.MISSING:
            required.append(name)
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _describe_default(declared: dataclasses.Field[Any]) -> dict[str, Any]:
    return {"default": declared.default} if type(declared.default) in SCALARS else {}


def _describe_hint(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        mark = {"x-personal": True} if schema.PERSONAL in hint.__metadata__ else {}
        return {**_describe_hint(arguments[0]), **mark}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return describe(hint)
    if origin is typing.Union or origin is types.UnionType:
        return {"anyOf": [_describe_hint(argument) for argument in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _describe_hint(arguments[1])}
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_describe_hint(argument) for argument in arguments]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (list, tuple):
        return {"type": "array", "items": _describe_hint(arguments[0])}
    return {"type": SCALARS[hint]}
