"""Seal what people did, so that who can switch triggers off and change rows is found out.

An entry of the history that names an actor gets a keyed digest over what it says and over the seal of the saga as it
was before, so that entries of one saga form a chain. The saga's own seal covers how many there are and the last of
them: taking entries off the end shows, too. The key is in the settings and never in the database.

Every chain begins with the entry that tells of the start, whoever started the saga: so each saga has a seal from its
first commit on, and one without was stripped. Other entries of the engine name nobody and are not sealed: sealing all
of them would cost a third more room in the largest table, and what an engine did can be read from attempts and
participants as well. ``sagas.operators.audit.verification`` verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings as project

from ...conf import get_settings
from ...models.history import DEED

KEY_ID_CHARS = 8
SEALED_FIELDS = ("saga_id", "number", "at", "what", "step", "from_state", "to_state", "actor", "reason", "data")


@dataclass(frozen=True, kw_only=True)
class SealKey:
    """Hold one key."""

    id: str
    """What a seal names it by; tells nothing about the key."""
    secret: bytes
    """The key itself."""


def list_keys() -> tuple[SealKey, ...]:
    """Return the keys: the first one seals, all of them verify.

    Those of ``SAGAS["SEAL_KEYS"]``, else Django's SECRET_KEY and its fallbacks.
    """
    given: list[Any] = get_settings().seal_keys or [project.SECRET_KEY, *project.SECRET_KEY_FALLBACKS]
    return tuple(_derive(str(text)) for text in given)


def seal_entries(
    entries: Iterable[MutableMapping[str, Any]], *, saga_id: UUID, seal: str, count: int
) -> tuple[str, int]:
    """Give every entry that must have one its seal, in order.

    ``seal`` and ``count`` are the saga's own, as they were.
    Returns: both as they must be stored with the entries.
    """
    for entry in entries:
        entry["seal"] = ""
        if not needs_seal(entry):
            continue
        key = list_keys()[0]
        entry["seal"] = compute_entry_seal(key, entry, before=seal)
        count += 1
        seal = compute_saga_seal(key, saga_id, count=count, number=entry["number"], last=entry["seal"])
    return seal, count


def needs_seal(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry must be sealed: it begins the saga, names somebody, or tells of a person's action."""
    return entry["number"] == 1 or entry["actor"] is not None or entry["what"] == DEED


def compute_entry_seal(key: SealKey, entry: Mapping[str, Any], *, before: str) -> str:
    """Return the seal of an entry that follows the given seal of its saga."""
    return _sign(key, "entry", describe_entry(entry), before)


def compute_saga_seal(key: SealKey, saga_id: UUID, *, count: int, number: int, last: str) -> str:
    """Return the seal of a saga with so many sealed entries, the last of which has this number and seal."""
    return _sign(key, "saga", str(saga_id), str(count), str(number), last)


def key_id_of(seal: str) -> str:
    """Return which key a seal was made with."""
    return seal.partition(":")[0]


def describe_entry(entry: Mapping[str, Any]) -> str:
    """Return what an entry says, the same before it is stored and after it was read."""
    values = {name: entry[name] for name in SEALED_FIELDS}
    values["data"] = json.loads(json.dumps(values["data"], default=_as_text))
    return json.dumps(_settle(values), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _settle(value: Any) -> Any:
    """Return a value in the one form that every way of storing it leads back to."""
    if isinstance(value, dict):
        return {str(name): _settle(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_settle(inner) for inner in value]
    if isinstance(value, float):
        # PostgreSQL writes 1e16 as a whole number.
        return int(value) if value.is_integer() else value
    if isinstance(value, bool | int | str) or value is None:
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)


def _sign(key: SealKey, *parts: str) -> str:
    # Lengths first: no two lists of parts give the same text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hmac.digest(key.secret, text.encode(), "sha256")
    return f"{key.id}:{urlsafe_b64encode(digest).decode().rstrip('=')}"


@lru_cache(maxsize=16)
def _derive(text: str) -> SealKey:
    secret = hashlib.sha256(b"sagas.signatures.key\0" + text.encode()).digest()
    return SealKey(id=hashlib.sha256(b"sagas.signatures.id\0" + secret).hexdigest()[:KEY_ID_CHARS], secret=secret)
