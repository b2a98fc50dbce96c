"""Metrics of events, read from each participant's database within a second; ``metrics`` serves them.

Labels are app labels of the catalogue, aliases and states, so their number does not grow with the traffic.
"""

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from ..events import catalogue
from ..events.overview import MAX_COUNTED, RECENTLY, ConsumerOverview, SenderOverview, read_overview
from ..events.settings import get_event_settings
from . import health
from .health import NoAnswer

SECONDS = 1.0
MINUTES = f"{RECENTLY.total_seconds() / 60:g} minutes"
AT_MOST = f"(at most {MAX_COUNTED})"


def event_families() -> dict[str, Any]:
    """Return the metrics without values."""
    return {
        "up": GaugeMetricFamily(
            "sagas_events_database_up", "Whether a database of events answered this scrape.", labels=["database"]
        ),
        "unsent": GaugeMetricFamily(
            "sagas_events_unsent", f"Events of the outbox that no broker confirmed {AT_MOST}.", labels=["participant"]
        ),
        "unsent_age": GaugeMetricFamily(
            "sagas_events_oldest_unsent_age_seconds",
            "How long the oldest unsent event has waited; 0: none.",
            labels=["participant"],
        ),
        "outbox_parked": GaugeMetricFamily(
            "sagas_events_outbox_parked", f"Events that the broker refused too often {AT_MOST}.", labels=["participant"]
        ),
        "missing": GaugeMetricFamily(
            "sagas_events_missing",
            f"Events that a consumer did not have after the last resend {AT_MOST}.",
            labels=["participant"],
        ),
        "relayed": GaugeMetricFamily(
            "sagas_events_relayed_recently",
            f"Events written in the last {MINUTES} that the broker confirmed {AT_MOST}.",
            labels=["participant"],
        ),
        "handled": GaugeMetricFamily(
            "sagas_events_handled_recently",
            f"Events received in the last {MINUTES} that were handled {AT_MOST}.",
            labels=["consumer"],
        ),
        "inbox": GaugeMetricFamily(
            "sagas_events_waiting",
            f"Events of the inbox that are not handled, by state {AT_MOST}.",
            labels=["consumer", "state"],
        ),
        "waiting_age": GaugeMetricFamily(
            "sagas_events_oldest_waiting_age_seconds",
            "How long the oldest event of the inbox in a state has waited; 0: none.",
            labels=["consumer", "state"],
        ),
        "lag": GaugeMetricFamily(
            "sagas_events_lag", "Events that a consumer has not received; absent: unknown.", labels=["consumer"]
        ),
        "consumers": GaugeMetricFamily(
            "sagas_events_consumers", "Processes of a consumer that were seen recently.", labels=["consumer"]
        ),
    }


def read_event_metrics() -> list[Metric]:
    """Return the metrics of all databases that answer; without values while events are off."""
    families = event_families()
    aliases = catalogue.event_databases() if get_event_settings().are_on else []
    for alias, answer in health.ask_each("events", aliases, SECONDS, read_overview).items():
        families["up"].add_metric([alias], 0.0 if isinstance(answer, NoAnswer) else 1.0)
        if isinstance(answer, NoAnswer):
            continue
        for sender in answer.senders:
            _add_sender(families, sender)
        for consumer in answer.consumers:
            _add_consumer(families, consumer)
    return list(families.values())


def _add_sender(families: Mapping[str, Any], sender: SenderOverview) -> None:
    label = [sender.participant]
    families["unsent"].add_metric(label, sender.unsent.count)
    families["unsent_age"].add_metric(label, sender.unsent.oldest_age.total_seconds())
    families["outbox_parked"].add_metric(label, sender.parked.count)
    families["missing"].add_metric(label, sender.missing.count)
    families["relayed"].add_metric(label, sender.relayed_recently)


def _add_consumer(families: Mapping[str, Any], consumer: ConsumerOverview) -> None:
    label = [consumer.consumer]
    for state, group in consumer.groups.items():
        families["inbox"].add_metric([*label, state.value], group.count)
        families["waiting_age"].add_metric([*label, state.value], group.oldest_age.total_seconds())
    families["handled"].add_metric(label, consumer.handled_recently)
    families["consumers"].add_metric(label, consumer.processes)
    if consumer.lag is not None:
        families["lag"].add_metric(label, consumer.lag)
