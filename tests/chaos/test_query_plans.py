"""Query plans with 100,000 sagas: frequent queries never scan a big table. ``make test-scale``: a million."""

from collections.abc import Iterator

import pytest
from django.db import connections

from benchmarks.generating import Mass, generate
from sagas import Compensatable, Pivot, SagaDefinition, nothing_to_undo
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.models import Saga
from sagas.operators.queries import search
from tests.scale.pages import OLDEST
from tests.scale.plans import watch_plans
from tests.scale.requests import CONSOLE, measure_all

SAGAS = 100_000
MOST_QUERIES = 10
PAGES_OF_A_SAGA = 20  # searched rows: the saga and its keys, counted, and again for the rows shown


class NotThisTime(Exception):
    """Refusal."""


@pytest.fixture
def definition() -> Iterator[type[SagaDefinition]]:
    """Declare a saga with few steps: only the number of sagas matters."""
    with registry.preserved():

        class Small(SagaDefinition):
            first = Compensatable(nothing_to_undo, nothing_to_undo, refuses_on=[NotThisTime])
            second = Pivot(nothing_to_undo, external=True, refuses_on=[NotThisTime])

            class Meta:
                name = "small"

        yield Small


@pytest.mark.django_db(databases="__all__")
def test_no_query_scans_a_big_table_and_no_page_needs_many(definition: type[SagaDefinition]) -> None:
    with connections[get_settings().database].cursor() as cursor:
        # Bulk data is known to be consistent.
        cursor.execute("SET LOCAL session_replication_role = replica")
        written = generate(Mass(sagas=SAGAS, definitions=[definition]))
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert written.sagas == Saga.objects.count() == SAGAS

    findings = measure_all()

    assert {name: found.found for name, found in findings.items() if found.found} == {}
    pages = {name: found.queries for name, found in findings.items() if name.startswith(CONSOLE)}
    assert {name: queries for name, queries in pages.items() if queries > MOST_QUERIES} == {}
    assert len(pages) > 50
    # For any number of matching keys and any age of their sagas; a scan to the oldest touches twice as many.
    searches = {name: found.pages for name, found in findings.items() if "q=" in name}
    assert {name: n for name, n in searches.items() if n > PAGES_OF_A_SAGA * search.MAX_LOOKED_THROUGH} == {}
    assert f"{CONSOLE}list q={OLDEST}" in searches


@pytest.mark.django_db(databases="__all__")
def test_full_scan_would_be_detected() -> None:
    with connections[get_settings().database].cursor() as cursor:
        # Rows rolled back by the previous test may make an index scan look cheaper.
        cursor.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    with watch_plans() as plans:
        list(Saga.objects.filter(started_by="nobody"))

    assert [found.partition(" by: ")[0] for found in plans.found] == ["sagas_saga"]
