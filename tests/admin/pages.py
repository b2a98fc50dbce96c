"""URLs of the console's pages, and readers of their text and of the database."""

from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from django.db import connection
from django.test import Client

from sagas.models import Saga, SagaHistory
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.drawing.charts import Chart

LogIn = Callable[..., Client]
LIST = "/admin/sagas/saga/"
REASON = "The bank is back, see ticket 42."
EVIDENCE = "The bank's own page shows it."
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}'\"&"


def text_of(response: Any) -> str:
    """Return the text of a response."""
    return unescape(response.content.decode())


def read(response: Any) -> str:
    """Return the text of a page that must exist."""
    assert response.status_code == 200
    return text_of(response)


def listed(response: Any) -> set[str]:
    assert response.status_code == 200
    return {str(saga.pk) for saga in response.context["cl"].result_list}


def ids(*sagas: Saga) -> set[str]:
    return {str(saga.pk) for saga in sagas}


STORED = """
    SELECT s::text, (SELECT string_agg(t::text, '|' ORDER BY position) FROM sagas_sagastep t WHERE saga_id = s.id),
        (SELECT count(*) FROM sagas_sagaattempt WHERE saga_id = s.id),
        (SELECT count(*) FROM sagas_sagahistory WHERE saga_id = s.id)
    FROM sagas_saga s WHERE id = %s"""


def page_of(saga: Saga, tab: str = "", **query: str) -> str:
    wanted = urlencode({**({"tab": tab} if tab else {}), **query})
    return f"{LIST}{saga.pk}/change/{'?' if wanted else ''}{wanted}"


def action_of(saga: Saga, operation: Operation, step: str | None = None) -> str:
    url = f"{LIST}{saga.pk}/act/{operation.value.replace('_', '-')}/"
    return f"{url}?step={step}" if step else url


def form_of(saga: Saga, **changes: Any) -> dict[str, Any]:
    """Return the form as it would be rendered now."""
    found = Saga.objects.get(pk=saga.pk)
    return {"reason": REASON, "revision": found.revision, "seen": found.history_count, "step": "", **changes}


def operations_of(saga: Saga) -> list[tuple[str, str | None, str]]:
    """Return the logged operations: name, user, reason."""
    rows = SagaHistory.objects.filter(saga=saga, what="operator_acted").order_by("number")
    return list(rows.values_list("to_state", "actor", "reason"))


def stored(saga: Saga) -> tuple[Any, ...]:
    """Return everything that an operation could change, as PostgreSQL writes it."""
    with connection.cursor() as cursor:
        cursor.execute(STORED, [saga.pk])
        found: tuple[Any, ...] = cursor.fetchone()
    return found


def find_bars(chart: Chart) -> list[ElementTree.Element]:
    """Return the bars of a chart, as drawn."""
    return ElementTree.fromstring(chart.svg).findall("rect")  # noqa: S314 - drawn here
