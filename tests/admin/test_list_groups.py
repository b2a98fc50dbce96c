"""List by severity: money unknown first, and a flood of one failure in one row."""

import re
from html import unescape
from typing import Any
from uuid import UUID

import pytest

from sagas.admin.saga_admin import SagaAdmin
from sagas.admin.ui.list_order import describe_position
from sagas.core.severity import Severity
from sagas.models import Saga
from sagas.operators import operations

from . import trips
from .pages import LIST, LogIn

pytestmark = pytest.mark.django_db

SEVEREST = {"by": "severest"}


def make_flood(count: int, error: str = "The hotel's server is down.") -> list[Saga]:
    return [trips.make_refused("book_hotel", trips.RetryLater(error, after=3000)) for _ in range(count)]


def ordered(response: Any) -> list[UUID]:
    return [saga.pk for saga in response.context["cl"].result_list]


def place_of(saga: Saga) -> str:
    return describe_position(Saga.objects.get(pk=saga.pk), "severest")


def rows_of(text: str) -> list[str]:
    rows = text.split("<tbody>")[1].partition("</tbody>")[0].split("<tr")[1:]
    return [" ".join(re.sub(r"<[^>]+>", " ", unescape(f"<tr{row}")).split()) for row in rows]


def test_most_severe_sagas_come_first(log_in: LogIn) -> None:
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    client = log_in("viewer")

    found = ordered(client.get(LIST, {**SEVEREST, "needs": "any"}))

    severities = [Saga.objects.get(pk=pk).severity for pk in found]
    assert severities == sorted(severities)
    assert found[0] == sagas["held_unknown"].pk
    assert set(severities) < {severity.value for severity in Severity if severity < Severity.OPEN}
    assert len(found) == Saga.objects.filter(closed_at=None, severity__lt=Severity.OPEN.value).count() == 8
    opened = ordered(client.get(LIST, SEVEREST))
    assert opened[:8] == found
    assert set(opened) == set(Saga.objects.filter(closed_at=None).values_list("pk", flat=True))


def test_position_continues_the_list_by_severity(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()
    client = log_in("viewer")
    whole = ordered(client.get(LIST, SEVEREST))
    third = Saga.objects.get(pk=whole[2])

    place = f"{third.severity}~{third.created_at:%Y-%m-%dT%H:%M:%S.%fZ}~{third.pk}"
    assert ordered(client.get(LIST, {**SEVEREST, "before": place})) == whole[3:]
    for wrong in ("10", place.partition("~")[2], f"9999~{place}", "10~yesterday~x"):
        assert client.get(LIST, {**SEVEREST, "before": wrong}).status_code == 400, wrong


def test_more_than_five_sagas_of_one_failure_are_one_row(log_in: LogIn) -> None:
    flood = make_flood(6)
    unknown = trips.make_held_unknown()
    client = log_in("supervisor")

    response = client.get(LIST, SEVEREST)
    [first, second] = rows_of(response.content.decode())

    assert ordered(response) == [unknown.pk]
    assert unknown.keys.get().value in first
    assert "6 sagas trip book_hotel RetryLater: The hotel's server is down." in second
    assert "Act on 6 …" in second
    [group] = {Saga.objects.get(pk=saga.pk).failing_group for saga in flood}
    assert set(ordered(client.get(LIST, {"failing": group}))) == {saga.pk for saga in flood}
    assert f"sagabulk/new/?failing={group}" in response.content.decode()
    assert "Act on 6" not in log_in("viewer").get(LIST, SEVEREST).content.decode()


def test_row_is_named_by_the_first_key_that_was_given(log_in: LogIn) -> None:
    trips.start(order="ORD-7", customer="ada")

    [row] = rows_of(log_in("viewer").get(LIST).content.decode())

    assert ("ORD-7 trip 3" in row, "ada" in row) == (True, False)


def test_groups_are_rows_of_the_first_page_alone(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SagaAdmin, "list_per_page", 2)
    make_flood(6)
    first, *_ = [trips.make_held_unknown() for _ in range(4)]
    client = log_in("viewer")

    pages = [client.get(LIST, {**SEVEREST, **place}) for place in ({}, {"p": "2"}, {"before": place_of(first)})]

    assert ["6 sagas" in page.content.decode() for page in pages] == [True, False, False]
    assert [len(ordered(page)) for page in pages] == [2, 2, 0]


def test_five_sagas_are_five_rows(log_in: LogIn) -> None:
    make_flood(5)
    make_flood(3, "The hotel is closed.")

    assert len(ordered(log_in("viewer").get(LIST))) == 8


def test_group_of_sagas_that_need_nobody_is_not_among_those_that_do(log_in: LogIn) -> None:
    make_flood(6)
    client = log_in("viewer")

    assert "6 sagas" in client.get(LIST).content.decode()
    assert "6 sagas" not in client.get(LIST, {**SEVEREST, "needs": "any"}).content.decode()
    assert len(ordered(client.get(LIST, {"display": "waiting_for_retry"}))) == 6


def test_saga_leaves_its_group_when_it_ends() -> None:
    flood = make_flood(3)
    cancelled, *waiting = flood
    operations.cancel(cancelled.pk, actor=trips.BOSS, reason=trips.REASON)
    trips.drain(cancelled)

    found = {saga.pk: Saga.objects.get(pk=saga.pk) for saga in flood}
    [group] = {found[saga.pk].failing_group for saga in waiting}
    assert group != ""
    assert (found[cancelled.pk].failing_group, found[cancelled.pk].severity) == ("", Severity.CLOSED)
