"""Signatures of operators' history entries: they reveal changes by users who can disable triggers and edit rows.

A history entry that names an actor gets a keyed digest (HMAC) over its content and over the saga's previous signature,
so the entries of a saga form a chain. The saga's own signature covers the number of signed entries and the last one, so
entries removed from the end are detected, too. The key is in the settings and never in the database.

Every chain begins with the entry of the start, with or without an actor: each saga has a signature from its first
commit on, and a saga without one was stripped. Other entries of the engine name no actor and are not signed: signing
them would cost a third more space in the largest table, and attempts and participants show what the engine did.
``sagas.operators.audit.verification`` verifies the signatures.
"""

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
    """Key that signs and verifies."""

    id: str
    """The name of the key in a signature; reveals nothing about the secret."""
    secret: bytes
    """The secret of the HMAC."""


def list_keys() -> tuple[SigningKey, ...]:
    """Return the keys: the first one signs, and all of them verify.

    They come from ``SAGAS["SIGNING_KEYS"]``, else from Django's SECRET_KEY and its fallbacks.
    """
    given: list[Any] = get_settings().signing_keys or [project.SECRET_KEY, *project.SECRET_KEY_FALLBACKS]
    return tuple(_derive(str(text)) for text in given)


def sign_entries(
    entries: Iterable[MutableMapping[str, Any]], *, saga_id: UUID, signature: str, count: int
) -> tuple[str, int]:
    """Sign every entry that needs a signature, in order.

    ``signature`` and ``count`` are the saga's present ones.
    Returns: the saga's new signature and count, to be stored together with the entries.
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
    """Return whether an entry must be signed: it starts the saga, names an actor, or records an operation."""
    return entry["number"] == 1 or entry["actor"] is not None or entry["what"] == OPERATOR_ACTED


def compute_entry_signature(key: SigningKey, entry: Mapping[str, Any], *, before: str) -> str:
    """Return the signature of an entry, given the saga's signature before it."""
    return _sign(key, "entry", describe_entry(entry), before)


def compute_saga_signature(key: SigningKey, saga_id: UUID, *, count: int, number: int, last: str) -> str:
    """Return a saga's signature over the count of its signed entries and the number and signature of the last one."""
    return _sign(key, "saga", str(saga_id), str(count), str(number), last)


def key_id_of(signature: str) -> str:
    """Return the id of the key that made a signature."""
    return signature.partition(":")[0]


def describe_entry(entry: Mapping[str, Any]) -> str:
    """Return an entry's signed content as text, identical before it is stored and after it was read."""
    values = {name: entry[name] for name in SIGNED_FIELDS}
    values["data"] = json.loads(json.dumps(values["data"], default=_as_text))
    return json.dumps(_normalise(values), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _normalise(value: Any) -> Any:
    """Return a value in a canonical form that does not depend on how it was stored."""
    if isinstance(value, dict):
        return {str(name): _normalise(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_normalise(inner) for inner in value]
    if isinstance(value, float):
        # PostgreSQL returns 1e16 as a whole number.
        return int(value) if value.is_integer() else value
    if isinstance(value, bool | int | str) or value is None:
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)


def _sign(key: SigningKey, *parts: str) -> str:
    # Length prefixes: different lists of parts never give the same text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hmac.digest(key.secret, text.encode(), "sha256")
    return f"{key.id}:{urlsafe_b64encode(digest).decode().rstrip('=')}"


@lru_cache(maxsize=16)
def _derive(text: str) -> SigningKey:
    secret = hashlib.sha256(b"sagas.signatures.key\0" + text.encode()).digest()
    return SigningKey(id=hashlib.sha256(b"sagas.signatures.id\0" + secret).hexdigest()[:KEY_ID_CHARS], secret=secret)
