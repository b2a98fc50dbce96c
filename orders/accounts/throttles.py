"""Limit how often something is done, counted in the main database.

Not in the broker, because a request never waits for it; not in a process, because there are many; not in Django's
cache, whose database backend reads, then writes, and so loses counts when requests come side by side. Here one
statement decides.

Source: GCRA (ITU-T I.371, the virtual scheduling algorithm): an allowance of n per period is one moment per
subject, from which all of it is free again; each use moves the moment by a n-th of the period, and is refused when
that would reach further than one period from now.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from ..exceptions import AllowanceSpent
from ..models import ThrottleBucket
from ..rates import Rate

_TABLE = ThrottleBucket._meta.db_table

_SPEND = f"""
    INSERT INTO {_TABLE} AS bucket (key, free_at)
    VALUES (%(key)s, clock_timestamp() + %(step)s * interval '1 second')
    ON CONFLICT (key) DO UPDATE
    SET free_at = greatest(bucket.free_at, clock_timestamp()) + %(step)s * interval '1 second'
    WHERE bucket.free_at <= clock_timestamp() + %(burst)s * interval '1 second'
    RETURNING 1
"""  # noqa: S608 - the table's name is the model's
_WAIT = f"""
    SELECT extract(epoch FROM free_at - clock_timestamp()) - %(burst)s FROM {_TABLE} WHERE key = %(key)s
"""  # noqa: S608 - the table's name is the model's
_GIVE_BACK = f"UPDATE {_TABLE} SET free_at = free_at - %(step)s * interval '1 second' WHERE key = %(key)s"  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How often one subject may do one thing."""

    scope: str
    """What is limited, as shown to who is refused."""
    subject: str
    """Who is limited; stored only as a digest."""
    rate: Rate
    """How often."""

    @property
    def parameters(self) -> dict[str, str | float]:
        """Return what the statements take."""
        digest = hashlib.sha256(f"{self.scope}\n{self.subject}".encode("utf-8", "surrogatepass")).hexdigest()
        step = self.rate.period_seconds / self.rate.count
        return {"key": digest, "step": step, "burst": self.rate.period_seconds - step}


def spend(allowance: Allowance) -> None:
    """Use an allowance once.

    Raises: AllowanceSpent with the seconds until it works again; nothing is counted then.
    Tx: must not be inside one that may roll back, or the use is forgotten.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SPEND, allowance.parameters)
        if cursor.fetchone() is not None:
            return
        cursor.execute(_WAIT, allowance.parameters)
        row = cursor.fetchone()
    raise AllowanceSpent(scope=allowance.scope, retry_after=max(1.0, float(row[0]) if row else 1.0))


def give_back(allowances: Iterable[Allowance]) -> None:
    """Undo one use of each allowance."""
    with connection.cursor() as cursor:
        for allowance in allowances:
            cursor.execute(_GIVE_BACK, allowance.parameters)
