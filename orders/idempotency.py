"""Recognise a repeated checkout request and answer it with the first answer.

Source: IETF draft-ietf-httpapi-idempotency-key-header; Stripe's API.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import connection
from django.utils import timezone

from .exceptions import IdempotencyKeyReused
from .models import IdempotencyRecord, Order

KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """The first answer to a request."""

    order: Order
    """The order that it placed."""
    status: int
    """The HTTP status."""
    body: dict[str, Any]
    """The body, in the order of the first answer."""


def lock_key(user: AbstractBaseUser, key: str) -> bool:
    """Take the key for this transaction.

    Other transactions cannot see the row of an uncommitted request, and no row exists yet: so an advisory lock.
    Returns: False when another transaction has it.
    Locks: an advisory lock, released with the transaction.
    Tx: must be inside one.
    """
    scope = hashlib.sha256(f"orders.idempotency:{user.pk}:{key}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(scope[:8], byteorder="big", signed=True)]
        )
        (is_mine,) = cursor.fetchone()
    return bool(is_mine)


def find_answer(user: AbstractBaseUser, key: str, *, digest: str) -> StoredAnswer | None:
    """Return the first answer under this key, or None when there was none.

    Raises: IdempotencyKeyReused when the first request was another one.
    """
    record = IdempotencyRecord.objects.select_related("order").filter(user=user, key=key).first()
    if record is None:
        return None
    if record.request_digest != digest:
        raise IdempotencyKeyReused
    return StoredAnswer(order=record.order, status=record.response_status, body=json.loads(record.response_body))


def remember_answer(user: AbstractBaseUser, key: str, *, digest: str, answer: StoredAnswer) -> None:
    """Store the answer, in the transaction of its order.

    Tx: must be inside one, with the key locked.
    """
    now = timezone.now()
    IdempotencyRecord.objects.create(
        user=user,
        key=key,
        request_digest=digest,
        order=answer.order,
        response_status=answer.status,
        response_body=json.dumps(answer.body),
        created_at=now,
        expires_at=now + KEPT_FOR,
    )
