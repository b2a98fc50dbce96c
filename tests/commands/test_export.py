"""``saga_export``: the console's export on standard output."""

import csv
import json
from io import StringIO

import pytest

from sagas.models import SagaAccess
from sagas.operators.queries.export import COLUMNS

from .cases import completed_trip, failing_trip, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")


def test_csv() -> None:
    failing, done = failing_trip("TRIP-1"), completed_trip("TRIP-2")

    result = run_command("saga_export")

    rows = list(csv.DictReader(StringIO(result.out, newline="")))
    assert (result.code, [row["id"] for row in rows]) == (0, [str(done.pk), str(failing.pk)])
    assert tuple(rows[0]) == COLUMNS
    assert rows[1]["last_error"] == "RuntimeError"
    for flag in ("--errors", "--payloads"):
        with_texts = run_command("saga_export", flag, "--attention")
        assert [row["last_error"] for row in csv.DictReader(StringIO(with_texts.out))] == ["RuntimeError: no answer"]
    assert list(SagaAccess.objects.order_by("id").values_list("detail", flat=True)) == [
        "error texts only, saga_export needs an operator: any", "saga_export needs an operator: any",
    ]  # fmt: skip
    assert run_command("saga_export", "--errors", "--payloads").code == 2


def test_json_documents() -> None:
    saga = start_trip("TRIP-1")
    completed_trip("TRIP-2")

    plain = run_command("saga_export", "--format", "ndjson", "--state", "pending")
    whole = run_command("saga_export", "--format", "ndjson", "--search", "TRIP-1", "--payloads")

    [document] = [json.loads(line) for line in plain.out.splitlines()]
    assert (document["id"], document["has_payloads"], "input" in document) == (str(saga.pk), False, False)
    [document] = [json.loads(line) for line in whole.out.splitlines()]
    assert document["input"] == {"traveller": "Ada"}
    assert list(SagaAccess.objects.values_list("what", flat=True)) == ["export"]


def test_export_without_matches() -> None:
    assert next(csv.reader([run_command("saga_export", "--definition", "trip").out])) == list(COLUMNS)
    assert run_command("saga_export", "--format", "ndjson").out == ""
