"""One filter for console, API and commands: the same results, and strict."""

from datetime import UTC, datetime

import pytest

from sagas.exceptions import BadRequest
from sagas.models import Saga, SagaAttempt
from sagas.operators.queries.saga_filter import parse_filter

from . import trips
from .pages import LIST, LogIn

pytestmark = pytest.mark.django_db

SAGAS = "/api/v1/sagas/"


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("step", "book_flight", {"failing"}),
        ("step", "unheard_of", set()),
        ("attempts", "10", {"failing"}),
        ("group", "", {"failing"}),
        ("failing", "", {"failing"}),
        ("operated", "yes", {"paused"}),
        ("operated", "no", {"failing", "old"}),
        ("since", "2026-01-02T00:00:00Z", {"failing", "paused"}),
        ("since", "2026-01-01T01:00:00+01:00", {"failing", "paused", "old"}),
        ("until", "2026-01-02T00:00:00+00:00", {"old"}),
        ("until", "2026-01-01T00:00:00Z", set()),
        ("closed", "no", {"failing", "paused", "old"}),
        ("closed", "today", set()),
        ("started", "24h", set()),
    ],
)
def test_each_filter_finds_the_same_on_every_path(log_in: LogIn, name: str, value: str, meant: set[str]) -> None:
    made = {"failing": trips.make_compensation_failing(), "paused": trips.make_paused(), "old": trips.start()}
    Saga.objects.filter(pk=made["old"].pk).update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    Saga.objects.filter(pk__in=[made["failing"].pk, made["paused"].pk]).update(
        created_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    if name in ("group", "failing"):
        value = SagaAttempt.objects.filter(saga=made["failing"]).exclude(error_group="").latest("pk").error_group
    expected, client = {str(made[one].pk) for one in meant}, log_in("admin")

    listed = client.get(LIST, {name: value})
    answer = client.get(SAGAS, {name: value})

    assert {str(saga.pk) for saga in listed.context["cl"].result_list} == expected
    assert {str(saga.pk) for saga in parse_filter({name: value}).select()} == expected
    assert (answer.status_code, {saga["id"] for saga in answer.json()["results"]}) == (200, expected)


def test_several_filters_combine_and_are_described() -> None:
    failing, _ = trips.make_compensation_failing(), trips.make_paused()
    wanted = parse_filter({"step": "book_flight", "attempts": "2", "display": "compensation_failing"})

    assert [saga.pk for saga in wanted.select()] == [failing.pk]
    assert parse_filter(wanted.as_dict()) == wanted
    assert wanted.describe() == "state: compensation failing; step: book_flight; attempts at least: 2"
    assert not parse_filter({"step": "book_flight", "operated": "yes"}).select().exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "Step One"), ("step", "x" * 61), ("attempts", "1"), ("attempts", "0"), ("attempts", "-2"),
        ("attempts", "1e3"), ("attempts", "9" * 10), ("attempts", "\u0663"), ("group", "xyz"), ("group", "A" * 16),
        ("failing", "xyz"), ("operated", "maybe"), ("since", "yesterday"),
        ("since", "2026-11-20T03:00:00"), ("since", "2026-11-20"),
        ("until", "0001-01-01T00:00:00Z"), ("until", "9999-12-31T23:59:59Z"), ("until", "9" * 5000), ("until", " "),
        ("closed", "never"), ("started", "2h"), ("state", "held"), ("state", "pending,"),
        ("by", "slowest"), ("before", "x"),
    ],
)  # fmt: skip
def test_invalid_filters_are_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name):
        parse_filter({name: value})


def test_several_states_are_one_criterion(log_in: LogIn) -> None:
    made = {"running": trips.make_paused(), "pending": trips.start(), "completed": trips.make_completed()}
    Saga.objects.filter(pk=made["running"].pk).update(state="running")
    wanted = parse_filter({"state": "running,completed"})

    answer = log_in("admin").get(SAGAS, {"state": "running,completed"})

    assert {saga.pk for saga in wanted.select()} == {made["running"].pk, made["completed"].pk}
    assert {saga["id"] for saga in answer.json()["results"]} == {str(saga.pk) for saga in wanted.select()}
    assert (wanted.as_dict(), parse_filter(wanted.as_dict())) == ({"state": "completed,running"}, wanted)


@pytest.mark.parametrize("text", ["ab\ud800", "ab\x00", 5, None])
def test_values_that_the_database_cannot_compare_are_refused(text: object) -> None:
    with pytest.raises(BadRequest, match="search"):
        parse_filter({"search": text})  # type: ignore[dict-item]
