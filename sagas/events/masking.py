"""Masking of personal data in the data of an event, for readers without the permission to see them.

Only fields that are declared, and not as personal, are shown: a foreign service may add fields of any content.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from .declaration import find_type
from .schema import PERSONAL, is_array, is_object, is_union, to_wire_name

MASK = "(personal data)"


def mask_personal(event_type: str, version: int, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return data without what may be personal; None when nothing is known of this type and version."""
    declared = find_type(event_type)
    if declared is None or declared.version != version:
        return None
    masked: dict[str, Any] = _mask(declared.schema, data)
    return masked


def _mask(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if PERSONAL in getattr(hint, "__metadata__", ()):
        return MASK
    if is_union(hint):
        return _mask_union(typing.get_args(hint), value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint, include_extras=True)
        names = {to_wire_name(found.name): found.name for found in dataclasses.fields(hint)}
        return {name: _mask(hints[names[name]], item) if name in names else MASK for name, item in value.items()}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple) and isinstance(value, list):
        wide = [argument for argument in arguments if argument is not Ellipsis]
        return [_mask(wide[min(place, len(wide) - 1)], item) for place, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping):
        return {key: _mask(arguments[1], item) for key, item in value.items()}
    if isinstance(value, Mapping | list):
        return value if hint in (dict, list, Any) else MASK
    return MASK if is_object(hint) or is_array(hint) else value


def _mask_union(parts: tuple[Any, ...], value: Any) -> Any:
    if any(PERSONAL in getattr(part, "__metadata__", ()) for part in parts):
        return MASK
    if not isinstance(value, Mapping | list):
        return value if any(_is_scalar(part) for part in parts) else MASK
    is_kind = is_object if isinstance(value, Mapping) else is_array
    fitting = next(filter(is_kind, parts), None)
    return MASK if fitting is None else _mask(fitting, value)


def _is_scalar(part: Any) -> bool:
    return part is not type(None) and not is_object(part) and not is_array(part)
