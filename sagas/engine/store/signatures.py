"""Sign what operators did, so that who can switch triggers off and change rows is found out.

An entry of the history that names an actor gets a keyed digest over what it says and over the signature of the saga as
it was before, so that entries of one saga form a chain. The saga's own signature covers how many there are and the last
of them: taking entries off the end shows, too. The key is in the settings and never in the database.

Every chain begins with the entry that tells of the start, whoever started the saga: so each saga has a signature from
its first commit on, and one without was stripped. Other entries of the engine name nobody and are not signed: signing
all of them would cost a third more room in the largest table, and what an engine did can be read from attempts and
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
from ...models.history import OPERATOR_ACTED

KEY_ID_CHARS = 8
SIGNED_FIELDS = ("saga_id", "number", "at", "what", "step", "from_state", "to_state", "actor", "reason", "data")


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """Hold one key."""

    id: str
    """What a signature names it by; tells nothing about the key."""
    secret: bytes
    """The key itself."""


def list_keys() -> tuple[SigningKey, ...]:
    """Return the keys: the first one signs, all of them verify.

    Those of ``SAGAS["SIGNING_KEYS"]``, else Django's SECRET_KEY and its fallbacks.
    """
    given: list[Any] = get_settings().signing_keys or [project.SECRET_KEY, *project.SECRET_KEY_FALLBACKS]
    return tuple(_derive(str(text)) for text in given)


def sign_entries(
    entries: Iterable[MutableMapping[str, Any]], *, saga_id: UUID, signature: str, count: int
) -> tuple[str, int]:
    """Give every entry that must have one its signature, in order.

    ``signature`` and ``count`` are the saga's own, as they were.
    Returns: both as they must be stored with the entries.
    """
    for entry in entries:
        entry["signature"] = ""
        if not needs_signature(entry):
            continue
        key = list_keys()[0]
        entry["signature"] = compute_entry_signature(key, entry, before=signature)
        count += 1
        signature = compute_saga_signature(key, saga_id, count=count, number=entry["number"], last=entry["signature"])
    return signature, count


def needs_signature(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry must be signed: it begins the saga, names somebody, or tells of a person's action."""
    return entry["number"] == 1 or entry["actor"] is not None or entry["what"] == OPERATOR_ACTED


def compute_entry_signature(key: SigningKey, entry: Mapping[str, Any], *, before: str) -> str:
    """Return the signature of an entry that follows the given signature of its saga."""
    return _sign(key, "entry", describe_entry(entry), before)


def compute_saga_signature(key: SigningKey, saga_id: UUID, *, count: int, number: int, last: str) -> str:
    """Return the signature of a saga with so many signed entries, the last of which has this number and signature."""
    return _sign(key, "saga", str(saga_id), str(count), str(number), last)


def key_id_of(signature: str) -> str:
    """Return which key a signature was made with."""
    return signature.partition(":")[0]


def describe_entry(entry: Mapping[str, Any]) -> str:
    """Return what an entry says, the same before it is stored and after it was read."""
    values = {name: entry[name] for name in SIGNED_FIELDS}
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


def _sign(key: SigningKey, *parts: str) -> str:
    # Lengths first: no two lists of parts give the same text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hmac.digest(key.secret, text.encode(), "sha256")
    return f"{key.id}:{urlsafe_b64encode(digest).decode().rstrip('=')}"


@lru_cache(maxsize=16)
def _derive(text: str) -> SigningKey:
    secret = hashlib.sha256(b"sagas.signatures.key\0" + text.encode()).digest()
    return SigningKey(id=hashlib.sha256(b"sagas.signatures.id\0" + secret).hexdigest()[:KEY_ID_CHARS], secret=secret)
