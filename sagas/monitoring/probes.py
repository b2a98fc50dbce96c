"""Views for probes: ``/healthz``, is the process alive; ``/readyz``, the doctor's findings that a balancer acts on.

A project mounts them where its probes look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from .doctor import Finding, Level, examine_surroundings

PROBE_SECONDS = 1.0  # how long broker and participants' databases may take
LOOKS = ("workers", "oldest due")


@csrf_exempt
@require_safe
@never_cache
def show_health(request: HttpRequest) -> HttpResponse:
    """Say that the process answers; looks at nothing else."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
@never_cache
def show_readiness(request: HttpRequest) -> HttpResponse:
    """Say whether sagas can be accepted: 503 when not, 200 also when something is degraded."""
    document = build_readiness(examine_surroundings(LOOKS, seconds=PROBE_SECONDS))
    return JsonResponse(document, status=503 if document["status"] == "failed" else 200)


def build_readiness(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return what ``/readyz`` shows of the doctor's findings.

    A participant's own database that is away is no reason to send customers away: their sagas are accepted, and wait.
    Shape: ``{status: ok | degraded | failed, checks: {name: {status, ...}}}``.
    """
    checks: dict[str, dict[str, Any]] = {}
    away = []
    for finding in findings:
        if finding.participant:
            away += [finding.participant] if finding.level is Level.FAIL else []
        elif finding.is_unread:
            checks["database"] = {"status": "failed"}
        else:
            checks[finding.name.replace(" ", "_")] = {"status": _judge(finding), **finding.facts}
    if "migrations" in checks:
        checks["participant_databases"] = {"status": "degraded" if away else "ok", "away": sorted(away)}
    found = {check["status"] for check in checks.values()}
    status = next(status for status in ("failed", "degraded", "ok") if status in found)
    return {"status": status, "checks": checks}


def _judge(finding: Finding) -> str:
    """Return the status of a finding. A main database that only reads still serves pages, so it is no failure, and
    the doctor's advice on its settings is none of the balancer's business.
    """
    if finding.level is Level.OK or (finding.name == "database" and finding.level is Level.WARN):
        return "ok"
    return "failed" if finding.name == "migrations" else "degraded"
