"""Frequent requests by users and programs, measured on a big database."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client

import sagas
from sagas import clock
from sagas.conf import get_settings
from sagas.core.states import SagaState
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.models import Saga, SagaStep
from sagas.monitoring import hook_backlog, probes, versions
from sagas.monitoring.doctor import examine_surroundings
from sagas.monitoring.liveness import read_liveness
from sagas.monitoring.metrics import SagaCollector
from sagas.operators.presentation import transcript
from sagas.operators.queries import listing
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.retention import purge
from sagas.retention.purge import Scope
from sagas.worker import owed_hooks, sweeper

from .pages import list_pages
from .plans import watch_plans

CONSOLE = "console: "
ROUNDS = 5

Looks = Iterator[tuple[str, Callable[[], object]]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Measurements of one request.

    queries: statements. found: those of them that scan a big table. pages: of 8 kB, that they touched. costliest:
    the statement that touched most, and how many. seconds: the median of several runs, 0 if not timed.
    """

    queries: int
    found: list[str]
    pages: int
    costliest: tuple[int, str]
    seconds: float = 0.0


def list_requests() -> Looks:
    """Yield all requests with their names."""
    examples = find_examples()
    yield from list_programs(examples)
    client = log_in()
    for name, address in list_pages(examples, read_key(examples["completed"])).items():
        yield f"{CONSOLE}{name}", lambda address=address: get(client, address)


def list_programs(examples: Mapping[str, Any]) -> Looks:
    """Yield the requests of workers, schedulers, scrapers and commands."""
    open_saga, closed = examples["running"], examples["completed"]
    definition = Saga.objects.using(get_settings().database).get(pk=closed).definition
    yield "sweep", lambda: sweeper.claim_due(limit=200)
    yield "sweep of some queues", lambda: sweeper.claim_due(limit=200, queues=["sagas"])
    yield "sweep but for some queues", lambda: sweeper.claim_due(limit=200, exclude=["sagas"])
    yield "liveness", read_liveness
    yield "claim", lambda: SagaUnitOfWork.lock(open_saga).effects()
    yield "cleanup", clean_up_a_batch
    yield "versions in use", versions.find_unknown_versions
    yield "transcript", lambda: transcript.render(closed)
    yield "metrics", lambda: list(SagaCollector().collect())
    yield "readiness", lambda: list(examine_surroundings(probes.EXAMINED, seconds=probes.PROBE_SECONDS))
    for name, wanted in list_filters().items():
        yield f"saga_list, {name}", lambda wanted=wanted: listing.list_sagas(wanted)
    yield "by the beginning of an id", lambda: listing.find_saga(str(closed))
    yield "by key", lambda: listing.find_saga(read_key(closed), by_key=True)
    yield "sweep of owed hooks", owed_hooks.wake_owed
    yield "owed hooks", hook_backlog.count_owed
    yield "find", lambda: sagas.find(definition, reference=read_key(closed))
    yield "find one of many", lambda: sagas.find(customer="CUST-00001")
    yield "find by two keys", lambda: sagas.find(definition, customer="CUST-00001", reference="no such")
    yield "query of what is open", lambda: list(sagas.query(definition, is_open=True)[:20])
    yield "query of what needs attention", lambda: list(sagas.query(needs_attention=True)[:20])
    yield "summary", lambda: sagas.summarize(closed)


def measure_all(*, is_timed: bool = False) -> dict[str, Finding]:
    """Measure every request by name. Changes nothing.

    Raises: AssertionError if a request ran no query.
    """
    findings = {}
    using = get_settings().database
    with transaction.atomic(using=using):
        for name, look in list_requests():
            seconds = time_request(look) if is_timed else 0.0
            with watch_plans() as plans:
                look()
            assert plans.asked > 0, name
            findings[name] = Finding(
                queries=plans.asked, found=plans.found, pages=plans.pages, costliest=plans.costliest, seconds=seconds
            )
        transaction.set_rollback(True, using=using)
    return findings


def time_request(look: Callable[[], object]) -> float:
    """Return the median seconds of a request."""
    seconds = []
    for _ in range(ROUNDS):
        started_at = time.perf_counter()
        look()
        seconds.append(time.perf_counter() - started_at)
    return statistics.median(seconds)


def print_findings() -> None:
    """Measure everything and print the findings as JSON; for ``manage.py shell``."""
    sys.stdout.write(json.dumps({name: asdict(found) for name, found in measure_all(is_timed=True).items()}))


def find_examples() -> dict[str, Any]:
    """Return the id of a saga of each existing state, and of one with a held step."""
    sagas = Saga.objects.order_by("created_at")
    found = {state.value: sagas.filter(state=state.value).values_list("pk", flat=True).last() for state in SagaState}
    found["held"] = SagaStep.objects.exclude(hold=None).values_list("saga_id", flat=True).first()
    return {name: saga_id for name, saga_id in found.items() if saga_id is not None}


def read_key(saga_id: Any) -> str:
    """Return a saga's business key."""
    return str(Saga.objects.get(pk=saga_id).keys.get(name="reference").value)


def clean_up_a_batch() -> None:
    """Delete one batch."""
    stops = iter((False, True))
    before = clock.read_now(get_settings().database) - timedelta(days=100)
    purge.clean_up(Scope(closed_before=before), batch_size=1_000, should_stop=lambda: next(stops, True))


def list_filters() -> dict[str, SagaFilter]:
    """Return the filters that users choose."""
    return {
        "newest": SagaFilter(),
        "running": SagaFilter(state=frozenset({SagaState.RUNNING})),
        "compensated": SagaFilter(state=frozenset({SagaState.COMPENSATED})),
        "of a definition": SagaFilter(definition="checkout"),
        "of an unknown definition": SagaFilter(definition="nothing"),
        "needing a person": SagaFilter(needs="any"),
        "by the beginning of a key": SagaFilter(search="GEN-000001"),
        "by the beginning of an id": SagaFilter(search="00000000"),
        "by what nothing has": SagaFilter(search="zzz"),
    }


def log_in() -> Client:
    """Return a client of the console with all permissions."""
    client = Client(headers={"host": "127.0.0.1"})
    user, _ = get_user_model().objects.get_or_create(username="scale", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


def get(client: Client, address: str) -> None:
    """Open a page."""
    response = client.get(address)
    assert response.status_code == 200, f"{address} answered {response.status_code}"
