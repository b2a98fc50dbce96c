"""Business keys as they are stored and searched for: checked, with secrets masked."""

from collections.abc import Mapping

from ...conf import get_settings
from ...core import json_values
from ...core.definition.options import KEY_NAME, MAX_KEY_CHARS
from ...exceptions import InputRefused


def check_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Check business keys, and return them with secrets masked, as they are stored.

    Raises: InputRefused for an invalid name or value.
    """
    if not isinstance(keys, Mapping):
        raise InputRefused(f"Business keys must be a dict of strings by name, not {type(keys).__name__}.")
    for name, value in keys.items():
        if not isinstance(name, str) or not KEY_NAME.fullmatch(name):
            raise InputRefused(f"Business key {name!r}: names are lower-case identifiers of at most 40 characters.")
        if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_CHARS:
            raise InputRefused(f"Business key {name!r}: a value must be a string of 1 to {MAX_KEY_CHARS} characters.")
        json_values.require_text(value, f"Business key {name!r}")
    masked: dict[str, str] = get_settings().redactor.redact_data(dict(keys))
    return {name: value[:MAX_KEY_CHARS] for name, value in masked.items()}
