"""With a hundred thousand sagas nothing that is asked often reads a big table whole. ``make test-scale``: a million."""

from collections.abc import Iterator

import pytest
from django.db import connections

from benchmarks.generating import Mass, generate
from sagas import Compensatable, Pivot, SagaDefinition, nothing_to_undo
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.models import Saga
from sagas.operators.queries import search
from tests.scale.looks import CONSOLE, look_at_everything
from tests.scale.pages import OLDEST
from tests.scale.plans import watch_plans

SAGAS = 100_000
MOST_QUERIES = 10
PAGES_OF_A_SAGA = 15  # that a search looks through: its row and its keys, counted, and once more for the rows shown


class NotThisTime(Exception):
    """Refuse."""


@pytest.fixture
def definition() -> Iterator[type[SagaDefinition]]:
    """Declare a saga with few steps: what counts is how many sagas there are."""
    with registry.preserved():

        class Small(SagaDefinition):
            first = Compensatable(nothing_to_undo, nothing_to_undo, refuses_on=[NotThisTime])
            second = Pivot(nothing_to_undo, external=True, refuses_on=[NotThisTime])

            class Meta:
                name = "small"

        yield Small


@pytest.mark.django_db(databases="__all__")
def test_nothing_reads_a_big_table_whole_and_no_page_asks_much(definition: type[SagaDefinition]) -> None:
    with connections[get_settings().database].cursor() as cursor:
        # Whoever writes so much at once knows that it fits together.
        cursor.execute("SET LOCAL session_replication_role = replica")
        written = generate(Mass(sagas=SAGAS, definitions=[definition]))
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert written.sagas == Saga.objects.count() == SAGAS

    findings = look_at_everything()

    assert {name: found.found for name, found in findings.items() if found.found} == {}
    pages = {name: found.queries for name, found in findings.items() if name.startswith(CONSOLE)}
    assert {name: queries for name, queries in pages.items() if queries > MOST_QUERIES} == {}
    assert len(pages) > 50
    # However many keys begin so, and however old their sagas are; a walk to the oldest touches three times as many.
    searches = {name: found.pages for name, found in findings.items() if "q=" in name}
    assert {name: n for name, n in searches.items() if n > PAGES_OF_A_SAGA * search.MAX_LOOKED_THROUGH} == {}
    assert f"{CONSOLE}list q={OLDEST}" in searches


@pytest.mark.django_db(databases="__all__")
def test_a_whole_read_would_be_seen() -> None:
    with connections[get_settings().database].cursor() as cursor:
        # What the test before has written and taken back may make a walk through an index look cheaper.
        cursor.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    with watch_plans() as plans:
        list(Saga.objects.filter(started_by="nobody"))

    assert [found.partition(" by: ")[0] for found in plans.found] == ["sagas_saga"]
