"""Comparison of the definitions that open sagas run on with those in the code (rule S10)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import Count, Min

from ..conf import get_settings
from ..core.definition import registry
from ..core.states import Coordination
from ..models import Saga


class Problem(StrEnum):
    """Problem of a definition that open sagas run on."""

    MISSING = "missing"  #: the code has no such name and version; its sagas are held
    CHANGED = "changed"  #: the code has another table of steps under this name and version


@dataclass(frozen=True, kw_only=True)
class UnknownVersion:
    """Version that open sagas need, and that the code lacks or has changed."""

    definition: str
    version: int
    digest: str
    """Digest stored in the sagas."""
    problem: Problem
    count: int
    """Number of open sagas that run on it."""
    oldest_at: datetime
    """When the oldest of them started."""

    @property
    def name_and_version(self) -> str:
        """Definition as ``name@version``."""
        return f"{self.definition}@{self.version}"

    def describe(self) -> str:
        """Return what is wrong and what to do."""
        sagas = "1 open saga runs" if self.count == 1 else f"{self.count} open sagas run"
        if self.problem is Problem.MISSING:
            return f"{sagas} on {self.name_and_version}, which the code does not have; keep it until they are closed."
        return (
            f"{sagas} on {self.name_and_version} as it was before its steps, participants or input changed;"
            " restore it and make the change a new version."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data.

        Shape: ``{definition, version, digest, problem, count, oldest_at}``.
        """
        return {
            "definition": self.definition, "version": self.version, "digest": self.digest,
            "problem": self.problem.value, "count": self.count, "oldest_at": self.oldest_at.isoformat(),
        }  # fmt: skip


def find_unknown_versions() -> list[UnknownVersion]:
    """Return the versions that open sagas need and the code lacks or has changed, by name and version."""
    found = []
    for row in _read_versions_in_use():
        known = registry.find(row["definition"], row["version"])
        if known is None or known.digest != row["digest"]:
            problem = Problem.MISSING if known is None else Problem.CHANGED
            found.append(UnknownVersion(**row, problem=problem))
    return found


def _read_versions_in_use() -> list[dict[str, Any]]:
    rows = Saga.objects.using(get_settings().database).filter(
        closed_at__isnull=True, coordination=Coordination.ORCHESTRATION.value
    )
    grouped = rows.order_by("definition", "version", "digest").values("definition", "version", "digest")
    return [dict(row) for row in grouped.annotate(count=Count("pk"), oldest_at=Min("created_at"))]
