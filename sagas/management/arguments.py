"""Strict parsers of command-line arguments: each takes a text and returns a value.

Raises: all functions raise ArgumentTypeError with the mistake; it ends a command with exit code 2.
"""

import re
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from ..conf import get_settings
from ..core.definition import registry
from ..core.definition.options import QUEUE_NAME
from ..core.definition.saga import STEP_NAME, SagaDefinition
from ..core.json_values import parse_json
from ..exceptions import InputRefused
from ..moments import TIMESTAMP_FORM, read_timestamp
from ..operators.queries.search import MIN_PREFIX_CHARS, is_id_prefix
from ..retention.archive import PACKED, PLAIN, is_archive_name

AGE = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
AGE_UNITS = {
    "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip
WHOLE = re.compile(r"[0-9]{1,9}")
DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
MAX_TEXT_CHARS = 10_000
MAX_INTERVAL_SECONDS = 3_600.0


def text(given: str) -> str:
    """Return a text that can be stored and shown."""
    if len(given) > MAX_TEXT_CHARS:
        raise ArgumentTypeError(f"is longer than {MAX_TEXT_CHARS} characters.")
    if UNPRINTABLE.search(given):
        raise ArgumentTypeError("contains control characters or bytes that are not UTF-8.")
    return given


def saga_id(given: str) -> str:
    """Return a saga's id or a prefix of one."""
    if not is_id_prefix(given):
        raise ArgumentTypeError(
            f"{given!r} is not a saga id: give the UUID or at least its first {MIN_PREFIX_CHARS} characters."
        )
    return given


def bulk_id(given: str) -> UUID:
    """Return a bulk's id."""
    try:
        return UUID(given)
    except ValueError as error:
        raise ArgumentTypeError(f"{given!r} is not a bulk id; saga_bulk_show lists them.") from error


def saga_reference(given: str) -> str:
    """Return a saga's id, a prefix of one, or a business key."""
    if not text(given).strip():
        raise ArgumentTypeError("is empty; give a saga's id or a business key such as an order number.")
    return given


def step_name(given: str) -> str:
    """Return the name of a step."""
    if not STEP_NAME.fullmatch(given):
        raise ArgumentTypeError(f"{given!r} is not a step name; saga_show lists the steps of a saga.")
    return given


def definition(given: str) -> type[SagaDefinition]:
    """Return the definition called ``NAME`` (the newest version) or ``NAME@VERSION``."""
    name, at, version = given.partition("@")
    found = [known for known in registry.all_definitions() if known.name == name]
    if at:
        found = [known for known in found if str(known.version) == version]
    if not found:
        known = ", ".join(f"{known.name}@{known.version}" for known in registry.all_definitions()) or "none"
        raise ArgumentTypeError(f"the code has no saga definition {given!r}; it has: {known}.")
    return found[-1]


def queue_name(given: str) -> str:
    """Return a queue that a step uses, or the common queue."""
    known = sorted({get_settings().common_queue, *registry.queues()})
    if not QUEUE_NAME.fullmatch(given) or given not in known:
        raise ArgumentTypeError(f"no step uses the queue {given!r}; known queues: {', '.join(known)}.")
    return given


def age(given: str) -> timedelta:
    """Return an age such as 30d, in minutes, hours, days or weeks."""
    found = AGE.fullmatch(given)
    if not found:
        raise ArgumentTypeError(f"{given!r} is not an age: give a whole number and m, h, d or w, such as 30d.")
    return int(found[1]) * AGE_UNITS[found[2]]


def moment(given: str) -> datetime:
    """Return an ISO 8601 point in time with a zone."""
    found = read_timestamp(given)
    if found is None:
        raise ArgumentTypeError(f"must be {TIMESTAMP_FORM}, not {text(given)!r}.")
    return found


def interval_seconds(given: str) -> float:
    """Return an interval in seconds."""
    value = float(given) if DECIMAL.fullmatch(given) else 0.0
    if not 0 < value <= MAX_INTERVAL_SECONDS:
        raise ArgumentTypeError(f"{given!r} is not an interval: give seconds, more than 0 and at most 3600.")
    return value


class WholeNumber:
    """Parser of a whole number between two limits."""

    def __init__(self, lowest: int, highest: int) -> None:
        self.lowest, self.highest = lowest, highest

    def __call__(self, given: str) -> int:
        """Return the number."""
        value = int(given) if WHOLE.fullmatch(given) else -1
        if not self.lowest <= value <= self.highest:
            raise ArgumentTypeError(f"{given!r} is not a whole number from {self.lowest} to {self.highest}.")
        return value


def json_object(given: str) -> dict[str, Any]:
    """Return a JSON object, in the form that a step returns."""
    try:
        value = parse_json(given, "The object", get_settings().result_max_bytes)
    except InputRefused as error:
        raise ArgumentTypeError(str(error)) from error
    if not isinstance(value, dict):
        raise ArgumentTypeError('must be a JSON object such as {"reference": "A-1"}.')
    return value


def archive_path(given: str) -> Path:
    """Return the path of an archive to be created."""
    path = Path(text(given))
    if not is_archive_name(path.name):
        raise ArgumentTypeError(f"{given!r}: an archive's name must end in {PLAIN} or {PACKED}.")
    return path
