"""Prometheus metrics of sagas, read from the database at each scrape.

Needs the extra ``metrics``; nothing else of the engine imports this module. Mount ``show_metrics``, or register the
collector once per process::

    registry = CollectorRegistry()
    registry.register(SagaCollector())

Recent events are counted in a window, and over a bounded number of the newest rows, so the cost of a scrape does not
grow with the backlog. The numbers belong to the database, not to the process: scrape one process, or take max().
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .. import clock
from ..conf import get_settings
from ..databases import refresh_connection
from ..operators import presentation
from ..transactions import own_transaction
from . import event_metrics, hook_backlog
from .liveness import read_liveness

logger = logging.getLogger(__name__)

STATEMENT_TIMEOUT = "2s"
WINDOW = timedelta(minutes=5)
# Newest rows of the window that are counted. 20,000 attempts take 70 ms to count.
MAX_ROWS = 20_000
MAX_BULK_SAGAS = 100_000
# Seconds: from a local step to the longest usual time-out.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

COUNT_CLOSED = """
    SELECT definition, state, count(*) FROM (
        SELECT definition, state FROM sagas_saga WHERE closed_at >= %s ORDER BY closed_at DESC LIMIT %s
    ) AS lately GROUP BY definition, state ORDER BY definition, state
"""
COUNT_REASONS = """
    WITH opened AS (SELECT id, hold, attention FROM sagas_saga WHERE closed_at IS NULL)
    SELECT reason, count(DISTINCT id) FROM (
        SELECT id, hold AS reason FROM opened WHERE hold IS NOT NULL
        UNION ALL SELECT id, jsonb_array_elements_text(attention) FROM opened WHERE attention <> '[]'
        UNION ALL SELECT opened.id, step.hold FROM sagas_sagastep AS step JOIN opened ON opened.id = step.saga_id
            WHERE step.hold IS NOT NULL
    ) AS found GROUP BY reason ORDER BY reason
"""
COUNT_ATTEMPTS = """
    WITH lately AS (
        SELECT saga_id, step_id, direction, outcome, extract(epoch FROM ended_at - started_at)::float AS seconds
        FROM sagas_sagaattempt WHERE started_at >= %s AND ended_at IS NOT NULL AND NOT is_assumed
        ORDER BY started_at DESC LIMIT %s
    )
    SELECT saga.definition, step.name, lately.direction, lately.outcome,
        width_bucket(-lately.seconds, %s::float[]) AS bounds, count(*), sum(lately.seconds)
    FROM lately
    JOIN sagas_sagastep AS step ON step.id = lately.step_id
    JOIN sagas_saga AS saga ON saga.id = lately.saga_id
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
COUNT_BULKS = """
    WITH running AS (SELECT id, due_at FROM sagas_sagabulk WHERE due_at IS NOT NULL)
    SELECT (SELECT count(*) FROM running), (
        SELECT count(*) FROM (
            SELECT FROM sagas_sagabulkitem AS item JOIN running ON running.id = item.bulk_id
            WHERE item.result IS NULL LIMIT %s
        ) AS found
    ), (SELECT greatest(extract(epoch FROM %s - min(due_at)), 0)::float FROM running)
"""


class SagaCollector:
    """Collector of the engine's metrics. A failing or slow database yields ``sagas_up 0`` and nothing else."""

    def describe(self) -> list[Metric]:
        """Return the metrics without values, so that registering does not query the database."""
        return [_up(0), *_families().values(), *event_metrics.event_families().values()]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; never raises a database's errors.

        Tx: opens one of a few short statements.
        """
        try:
            found = _read()
        except (Error, ImproperlyConfigured) as error:
            logger.warning("Metrics could not be read.", extra={"error": str(error)})
            yield _up(0)
            return
        yield _up(1)
        yield from found
        yield from event_metrics.read_event_metrics()


@csrf_exempt
@require_safe
@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics for Prometheus, read now."""
    return HttpResponse(generate_latest(_get_registry()), content_type=CONTENT_TYPE_LATEST)


@cache
def _get_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(SagaCollector())
    return registry


def _up(value: float) -> Metric:
    return GaugeMetricFamily("sagas_up", "Whether the engine's database answered this scrape.", value=value)


def _families() -> dict[str, Any]:
    minutes = f"{WINDOW.total_seconds() / 60:g} minutes (at most the newest {MAX_ROWS})"
    step = ["definition", "step", "direction"]
    return {
        "open": GaugeMetricFamily(
            "sagas_open", "Open sagas by definition and display state.", labels=["definition", "state"]
        ),
        "closed": GaugeMetricFamily(
            "sagas_closed_recently", f"Sagas closed in the last {minutes}.", labels=["definition", "state"]
        ),
        "seconds": GaugeHistogramMetricFamily(
            "sagas_step_duration_seconds", f"How long attempts of the last {minutes} took.", labels=step
        ),
        "attempts": GaugeMetricFamily(
            "sagas_attempts_recently", f"Attempts of the last {minutes} by outcome.", labels=[*step, "outcome"]
        ),
        "attention": GaugeMetricFamily(
            "sagas_attention", "Open sagas that need an operator, by reason (hold or attention).", labels=["reason"]
        ),
        "due": GaugeMetricFamily("sagas_oldest_due_age_seconds", "How long the oldest due saga has waited; 0: none."),
        "sweep": GaugeMetricFamily("sagas_last_sweep_age_seconds", "How long ago the last sweep was; absent: never."),
        "workers": GaugeMetricFamily("sagas_workers", "Workers and sweep commands recently seen that execute steps."),
        "hooks": GaugeMetricFamily(
            "sagas_closed_hooks_owed",
            f"Closed sagas whose on_closed hook was not called successfully (at most {hook_backlog.MAX_COUNTED}).",
        ),
        "hooks_closed": GaugeMetricFamily(
            "sagas_oldest_owed_hook_age_seconds", "How long ago the oldest of these sagas was closed; 0: none."
        ),
        "bulks": GaugeMetricFamily("sagas_bulks_running", "Bulks that were confirmed and have not ended."),
        "bulk_sagas": GaugeMetricFamily(
            "sagas_bulk_sagas_left", f"Sagas that running bulks have not acted on yet (at most {MAX_BULK_SAGAS})."
        ),
        "bulk_due": GaugeMetricFamily(
            "sagas_oldest_due_bulk_age_seconds",
            "How long a running bulk has been due; 0: none.",
        ),
    }


def _read() -> list[Metric]:
    """Read every family in one transaction with a statement time-out of its own."""
    using = get_settings().database
    families = _families()
    refresh_connection(using)
    with own_transaction(using, joins=True), connections[using].cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT])
        now = clock.read_now(using)
        since = now - WINDOW
        _add_sagas(families, cursor, since)
        _add_attempts(families, cursor, since)
        _add_reasons(families, cursor)
        _add_progress(families)
        _add_bulks(families, cursor, now)
        _add_hooks(families, now)
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    return list(families.values())


def _add_sagas(families: dict[str, Any], cursor: Any, since: Any) -> None:
    for row in presentation.count_open():
        families["open"].add_metric([row["definition"], row["display_state"]], row["count"])
    cursor.execute(COUNT_CLOSED, [since, MAX_ROWS])
    for definition, state, count in cursor.fetchall():
        families["closed"].add_metric([definition, state], count)


def _add_attempts(families: dict[str, Any], cursor: Any, since: Any) -> None:
    # Negated, width_bucket counts the limits that an attempt stays within, the limit itself included.
    cursor.execute(COUNT_ATTEMPTS, [since, MAX_ROWS, [-limit for limit in reversed(BUCKETS)]])
    outcomes: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], list[int]] = {}
    sums: dict[tuple[str, ...], float] = {}
    for definition, step, direction, outcome, bounds, count, seconds in cursor.fetchall():
        place = (definition, step, direction)
        outcomes[*place, outcome] = outcomes.get((*place, outcome), 0) + count
        counts.setdefault(place, [0] * (len(BUCKETS) + 1))[len(BUCKETS) - bounds] += count
        sums[place] = sums.get(place, 0.0) + seconds
    for labels, count in outcomes.items():
        families["attempts"].add_metric(labels, count)
    for labels, found in counts.items():
        families["seconds"].add_metric(labels, _accumulate(found), sums[labels])


def _accumulate(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return Prometheus' cumulative buckets: each counts its own attempts and those of all lower ones."""
    names = [*(f"{limit:g}" for limit in BUCKETS), "+Inf"]
    return [(name, float(sum(counts[: place + 1]))) for place, name in enumerate(names)]


def _add_reasons(families: dict[str, Any], cursor: Any) -> None:
    """Add every reason, even with a count of 0: an alert needs an existing series."""
    cursor.execute(COUNT_REASONS)
    found = dict(cursor.fetchall())
    for reason in presentation.REASONS:
        families["attention"].add_metric([reason], found.get(reason, 0))


def _add_progress(families: dict[str, Any]) -> None:
    found = read_liveness()
    families["due"].add_metric([], found.oldest_due_age.total_seconds())
    if found.last_sweep_age is not None:
        families["sweep"].add_metric([], found.last_sweep_age.total_seconds())
    families["workers"].add_metric([], len(found.workers))


def _add_bulks(families: dict[str, Any], cursor: Any, now: datetime) -> None:
    cursor.execute(COUNT_BULKS, [MAX_BULK_SAGAS, now])
    running, left, age = cursor.fetchone()
    families["bulks"].add_metric([], running)
    families["bulk_sagas"].add_metric([], left)
    families["bulk_due"].add_metric([], age or 0.0)


def _add_hooks(families: dict[str, Any], now: datetime) -> None:
    owed = hook_backlog.count_owed()
    families["hooks"].add_metric([], owed.count)
    age = (now - owed.oldest_closed_at).total_seconds() if owed.oldest_closed_at else 0.0
    families["hooks_closed"].add_metric([], max(0.0, age))
