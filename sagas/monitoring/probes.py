"""Views for probes: ``/healthz``, liveness of the process; ``/readyz``, the doctor's findings for a load balancer.

A project mounts them at the paths of its probes.
"""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from .doctor import Finding, Level, examine_surroundings

PROBE_SECONDS = 1.0  # time limit of the broker, and of the participants' databases
EXAMINED = ("workers", "oldest due")


@csrf_exempt
@require_safe
@never_cache
def show_health(request: HttpRequest) -> HttpResponse:
    """Return 200 if the process answers; nothing else is examined."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
@never_cache
def show_readiness(request: HttpRequest) -> HttpResponse:
    """Return whether sagas can be accepted: 503 if not, 200 even if something is degraded."""
    document = build_readiness(examine_surroundings(EXAMINED, seconds=PROBE_SECONDS))
    return JsonResponse(document, status=503 if document["status"] == "failed" else 200)


def build_readiness(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the document of ``/readyz`` for the doctor's findings.

    An unreachable participant's database does not fail readiness: sagas are still accepted, and wait.
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
    """Return the status of a finding; a read-only main database is degraded, as it still serves pages."""
    # Warnings about the main database's settings do not concern a load balancer.
    if finding.level is Level.OK or (finding.name == "database" and finding.level is Level.WARN):
        return "ok"
    return "failed" if finding.name == "migrations" else "degraded"
