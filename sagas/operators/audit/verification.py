"""Verification of operators' history entries: no number is missing, every signature matches, nothing is cut off.

A saga started since signatures exist must have one, from its first entry on: this detects the removal of all
signatures. The start time is read from the saga's row and from its id, whichever is later.

Reads only. A finding is checked again under the saga's lock before it is reported, because an operator may act between
two reads. Sagas are verified one at a time; the first mismatch of each is reported.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import ExpressionWrapper, F, Q

from ...conf import get_settings
from ...engine.store import signatures
from ...engine.store.signatures import SigningKey
from ...models import Saga, SagaHistory
from ...models.fields import MomentField
from ...models.history import OPERATOR_ACTED
from ...models.saga import read_started_at
from ...transactions import own_transaction

PAGE = 500
SIGNING_MIGRATION = "0001_initial"  # every saga started since this migration is signed
ID_TOLERANCE = timedelta(days=1)  # the time in an id comes from a process, whose clock may be wrong
COUNT_NUMBERS = """
    SELECT saga_id, count(*), min(number), max(number) FROM sagas_sagahistory WHERE saga_id = ANY(%s) GROUP BY saga_id
"""
FIND_GAP = """
    SELECT wanted FROM generate_series(1, %s) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM sagas_sagahistory WHERE saga_id = %s AND number = wanted) ORDER BY wanted LIMIT 1
"""


class Flaw(StrEnum):
    """Kind of finding."""

    MISSING = "missing"  #: an entry is missing
    CHANGED = "changed"  #: an entry does not match its signature
    CUT = "cut"  #: the saga's signature does not match its signed entries, or is gone
    UNSIGNED = "unsigned"  #: an entry that must have a signature has none
    UNKNOWN_KEY = "unknown_key"  #: it was signed with a key that the settings do not have


@dataclass(frozen=True, kw_only=True)
class Finding:
    """First entry of a saga that is not as it was written."""

    saga_id: UUID
    number: int
    """Number of the entry."""
    flaw: Flaw
    text: str
    """The finding in a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"saga_id": str(self.saga_id), "number": self.number, "flaw": self.flaw.value, "text": self.text}


@dataclass(kw_only=True)
class Verification:
    """What was verified, and what was found."""

    sagas: int = 0
    """Sagas verified."""
    entries: int = 0
    """Signed entries that were verified."""
    findings: list[Finding] = field(default_factory=list)
    """At most one for each saga."""
    is_whole: bool = True
    """Whether all requested sagas were verified."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True, kw_only=True)
class _Facts:
    saga_id: UUID
    created_at: datetime
    history_count: int
    signature: str
    signature_count: int
    numbers: tuple[int, int, int]  # count, first, last
    entries: Sequence[dict[str, Any]]  # entries that must have a signature, or have one


def verify(
    saga_ids: Iterable[UUID], *, signed_since: datetime | None, into: Verification | None = None
) -> Verification:
    """Verify sagas by id; deleted ones are skipped.

    ``signed_since``: from when on every start and every entry of an operator must have a signature; None: only after
    a signed entry of the same saga.
    """
    found = into or Verification()
    wanted = list(saga_ids)
    for facts in _read(wanted):
        found.sagas += 1
        found.entries += sum(1 for entry in facts.entries if entry["signature"])
        if _judge(facts, signed_since) and (finding := _judge_locked(facts.saga_id, signed_since)):
            found.findings.append(finding)
    return found


def verify_all(
    *,
    signed_since: datetime | None,
    started_since: datetime | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verification:
    """Verify every saga, or those whose row has a recent start, oldest first, a page at a time."""
    found = Verification()
    since: Any = started_since
    last: UUID | None = None
    while not should_stop():
        # In the order of the index saga_newest, which finds the first row of a time without reading earlier rows.
        rows = Saga.objects.using(get_settings().database).order_by("created_at", "pk")
        if since is not None:
            rows = rows.filter(created_at__gte=since)
        if last is not None:
            rows = rows.exclude(Q(created_at=since) & Q(pk__lte=last))
        page = [(saga.created_at, saga.pk) for saga in rows.only("created_at")[:PAGE]]
        if not page:
            return found
        since, last = page[-1]
        verify([pk for _, pk in page], signed_since=signed_since, into=found)
    found.is_whole = False
    return found


def verify_operated(*, since: datetime, until: datetime, limit: int, signed_since: datetime | None) -> Verification:
    """Verify the sagas last operated on between two times, the latest first, at most ``limit``."""
    operated = Saga.objects.using(get_settings().database).filter(operated_at__gte=since, operated_at__lte=until)
    ids = list(operated.order_by("-operated_at").values_list("pk", flat=True)[: limit + 1])
    found = Verification(is_whole=len(ids) <= limit)
    for start in range(0, min(len(ids), limit), PAGE):
        verify(ids[start : min(start + PAGE, limit)], signed_since=signed_since, into=found)
    return found


def read_signed_since() -> datetime | None:
    """Return since when this database has kept signatures, or None when it has no record of it."""
    recorder = MigrationRecorder(connections[get_settings().database])
    if not recorder.has_table():
        return None
    rows = recorder.migration_qs.filter(app="sagas", name=SIGNING_MIGRATION)
    rows = rows.annotate(moment=ExpressionWrapper(F("applied"), output_field=MomentField()))
    applied: datetime | None = rows.values_list("moment", flat=True).first()
    return applied


def _read(saga_ids: Sequence[UUID]) -> Iterator[_Facts]:
    using = get_settings().database
    sagas = Saga.objects.using(using).filter(pk__in=saga_ids).order_by("pk")
    entries: dict[UUID, list[dict[str, Any]]] = {}
    must_be_signed = (
        Q(number=1) | Q(actor__isnull=False) | Q(what=OPERATOR_ACTED)
    )  # the same rule as signatures.needs_signature
    signed = SagaHistory.objects.using(using).filter(must_be_signed | ~Q(signature=""), saga_id__in=saga_ids)
    for entry in signed.order_by("saga_id", "number").values(*signatures.SIGNED_FIELDS, "signature"):
        entries.setdefault(entry["saga_id"], []).append(entry)
    with connections[using].cursor() as cursor:
        cursor.execute(COUNT_NUMBERS, [list(saga_ids)])
        numbers = {row[0]: (row[1], row[2], row[3]) for row in cursor.fetchall()}
    for saga in sagas.only("created_at", "history_count", "signature", "signature_count"):
        yield _Facts(
            saga_id=saga.pk,
            created_at=saga.created_at,
            history_count=saga.history_count,
            signature=saga.signature,
            signature_count=saga.signature_count,
            numbers=numbers.get(saga.pk, (0, 0, 0)),
            entries=entries.get(saga.pk, []),
        )


def _judge_locked(saga_id: UUID, signed_since: datetime | None) -> Finding | None:
    """Judge a saga again while its row is locked.

    Locks: the saga row.
    """
    using = get_settings().database
    with own_transaction(using, joins=True):
        list(Saga.objects.using(using).select_for_update(no_key=True).filter(pk=saga_id).values_list("pk"))
        return next((found for facts in _read([saga_id]) if (found := _judge(facts, signed_since))), None)


def _judge(facts: _Facts, signed_since: datetime | None) -> Finding | None:
    count, first, last = facts.numbers
    if count != facts.history_count or (count and (first, last) != (1, count)):
        # The first missing number is at most count + 1.
        number = _find_gap(facts.saga_id, count + 1) or count + 1
        text = f"The saga records {facts.history_count} entries, {count} exist; the first mismatch is"
        return _find(facts, number, Flaw.MISSING, f"{text} number {number}.")
    return _judge_chain(facts, signed_since)


def _judge_chain(facts: _Facts, signed_since: datetime | None) -> Finding | None:
    keys = {key.id: key for key in signatures.list_keys()}
    is_signed_from_start = signed_since is not None and _is_started_since(facts, signed_since)
    if is_signed_from_start and not facts.signature:
        text = "The saga has no signature, although it was started after signing began; the first entry is"
        return _find(facts, 1, Flaw.CUT, f"{text} number 1.")
    before, count, number = "", 0, 0
    for entry in facts.entries:
        number = entry["number"]
        if not entry["signature"]:
            is_late = signed_since is not None and entry["at"] >= signed_since
            if count or is_signed_from_start or is_late:
                text = f"Entry {number} {_describe_need(entry)} and has no signature."
                return _find(facts, number, Flaw.UNSIGNED, text)
            continue
        key = keys.get(signatures.key_id_of(entry["signature"]))
        if key is None:
            text = f"Entry {number} was signed with a key that is not in the settings; it cannot be verified."
            return _find(facts, number, Flaw.UNKNOWN_KEY, text)
        if not _fits(key, entry, before):
            text = f"Entry {number} does not match its signature: it was changed, or a signed one before it is gone."
            return _find(facts, number, Flaw.CHANGED, text)
        count += 1
        before = signatures.compute_saga_signature(
            key, facts.saga_id, count=count, number=number, last=entry["signature"]
        )
    if count == facts.signature_count and hmac.compare_digest(before, facts.signature):
        return None
    text = (
        f"The saga's signature covers {facts.signature_count} signed entries; {count} exist, or the signature was"
        " changed."
    )
    return _find(facts, number + 1, Flaw.CUT, text)


def _is_started_since(facts: _Facts, moment: datetime) -> bool:
    """Return whether a saga was started since a time, by its row or by its id: the row alone could be forged."""
    return facts.created_at >= moment or read_started_at(facts.saga_id) - ID_TOLERANCE >= moment


def _describe_need(entry: dict[str, Any]) -> str:
    if entry["actor"] is not None:
        return f"names {entry['actor']}"
    return "records an operation" if entry["what"] == OPERATOR_ACTED else "begins the saga"


def _fits(key: SigningKey, entry: dict[str, Any], before: str) -> bool:
    return hmac.compare_digest(signatures.compute_entry_signature(key, entry, before=before), entry["signature"])


def _find(facts: _Facts, number: int, flaw: Flaw, text: str) -> Finding:
    return Finding(saga_id=facts.saga_id, number=number, flaw=flaw, text=text)


def _find_gap(saga_id: UUID, count: int) -> int | None:
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(FIND_GAP, [count, saga_id])
        row = cursor.fetchone()
    return int(row[0]) if row else None
