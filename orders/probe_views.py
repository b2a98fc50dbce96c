"""Answer ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from functools import cache

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .probes import judge_readiness


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
    """Say whether checkouts can be accepted: 503 when not, 200 also when something is degraded."""
    readiness = judge_readiness()
    return JsonResponse(readiness.as_document(), status=200 if readiness.is_ready else 503)


@csrf_exempt
@require_safe
@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Show the sagas' numbers to Prometheus, read at this moment."""
    return HttpResponse(generate_latest(_get_registry()), content_type=CONTENT_TYPE_LATEST)


@cache
def _get_registry() -> CollectorRegistry:
    from sagas.metrics import SagaCollector

    registry = CollectorRegistry()
    registry.register(SagaCollector())
    return registry
