from __future__ import annotations

from collections.abc import Callable, Iterable
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from sagas import InProgress, RetryLater
from sagas.admin import links
from sagas.admin.saga_admin import SagaAdmin
from sagas.admin.saga_page import reading
from sagas.admin.ui.selection import Tab
from sagas.core.definition import registry
from sagas.models import Saga, SagaAttempt, SagaBarrier, SagaHistory, SagaKey, SagaStep, SagaWorker
from sagas.operators import operations
from sagas.testing import drain, faults

from . import tall, trips
from .pages import LIST, page_of, stored

pytestmark = pytest.mark.django_db

LogIn = Callable[..., Client]
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}'\"&"


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return unescape(response.content.decode())


def read_whole(client: Client, saga: Saga) -> str:
    """Read every view of a saga."""
    return "".join(text_of(client.get(page_of(saga, tab))) for tab in Tab)


def test_page_tells_the_whole_story(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    text = read_whole(log_in("admin"), saga)

    for shown in (
        "The compensation of book_flight has spent its attempts: its effect is still there.",
        "It turned back because pay refused: tests.admin.trips.CardDeclined: No money.",
        "Find out from the error what keeps the participant from undoing it",
        str(saga.pk),
        saga.keys.get().value,
        "trip, version 3",
        "10 of 10 back, 1 forward",
        "RuntimeError: The airline is closed.",
        "Traceback (most recent call last)",
        '"order_number"',
        '"made": "book_hotel"',
    ):
        assert shown in text
    for attempt in SagaAttempt.objects.filter(saga=saga):
        assert text.count(f'<tr id="attempt-{attempt.pk}">') == 1
    for entry in SagaHistory.objects.filter(saga=saga):
        assert f'<th scope="row">{entry.number}</th>' in text


@pytest.mark.parametrize("maker", trips.MAKERS)
@pytest.mark.parametrize("person", ["viewer", "admin"])
def test_every_state_has_a_page_with_few_queries(log_in: LogIn, person: str, maker: str) -> None:
    saga = trips.MAKERS[maker]()
    client, before = log_in(person), stored(saga)

    for tab in Tab:
        with CaptureQueriesContext(connection) as queries:
            text = text_of(client.get(page_of(saga, tab)))

        assert len(queries) <= 10, tab
        assert "FOR NO KEY UPDATE" not in " ".join(query["sql"] for query in queries)
        assert 'class="saga-banner saga-tone-' in text
        assert f'aria-current="page">{tab.value.capitalize()}</a>' in text
    assert stored(saga) == before


def test_page_of_a_missing_definition(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    with registry.preserved():
        registry.forget("trip", 3)
        text = text_of(log_in("admin").get(page_of(saga)))

    assert "book_hotel failed (attempt 1) and is tried again" in text


def test_payloads_need_their_own_permission(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()
    client = log_in("operator")

    text = read_whole(client, saga)
    for hidden in ("The airline is closed.", "No money.", "Traceback (most", '"order_number"', '"made"', '"cause"'):
        assert hidden not in text
    assert "RuntimeError" in text
    assert "need the permission sagas.view_payload" in text

    User.objects.get(username="operator").user_permissions.add(Permission.objects.get(codename="view_payload"))
    text = read_whole(client, saga)
    for shown in ("The airline is closed.", "No money.", "Traceback (most", '"order_number"', '"made"', '"cause"'):
        assert shown in text


def test_words_of_people_are_shown_to_everybody(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    evidence = "The bank's own page shows it."
    operations.mark_succeeded(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence=evidence)

    text = read_whole(log_in("viewer"), saga)

    assert trips.REASON in text
    assert evidence in text
    assert "boss" in text
    assert "(a person's word)" in text


def test_nobody_edits_anything(log_in: LogIn) -> None:
    saga = trips.make_completed()
    client, before = log_in("admin"), stored(saga)

    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}add/", {"definition": "x"}).status_code == 403
    assert client.post(page_of(saga), {"state": "running", "_save": "Save"}).status_code == 403
    assert client.put(page_of(saga)).status_code == 403
    assert client.get(f"{LIST}{saga.pk}/delete/").status_code == 403
    assert client.post(f"{LIST}{saga.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [str(saga.pk)], "post": "yes"}
    client.post(LIST, data)
    text = text_of(client.get(page_of(saga))) + text_of(client.get(LIST))
    for missing in ('name="_save"', "/delete/", '/add/" class="addlink" aria-describedby="sagas', "delete_selected"):
        assert missing not in text
    assert stored(saga) == before


def test_steps_attempts_and_history_have_no_pages_of_their_own() -> None:
    for model in (SagaStep, SagaAttempt, SagaHistory, SagaKey):
        assert not admin.site.is_registered(model)
        with pytest.raises(NoReverseMatch):
            reverse(f"admin:sagas_{model._meta.model_name}_changelist")


@pytest.mark.parametrize(
    "object_id", ["nonsense", "%00", "01a1f83c-0000-7000-8000-000000000000", "a" * 5000, "<script>"]
)
def test_unknown_id_leads_to_the_list(log_in: LogIn, object_id: str) -> None:
    client = log_in("viewer")

    response = client.get(f"{LIST}{object_id}/change/", follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    assert "There is no saga" in text_of(response)
    assert b"<script>." not in response.content


def test_admin_history_leads_to_the_sagas_own(log_in: LogIn) -> None:
    saga = trips.make_completed()

    response = log_in("viewer").get(f"{LIST}{saga.pk}/history/")

    assert (response.status_code, response["Location"]) == (302, page_of(saga, "history"))
    assert log_in("staff").get(f"{LIST}{saga.pk}/history/").status_code == 403
    assert log_in("viewer").get(f"{LIST}nonsense/history/").status_code == 302


def test_long_stories_are_shown_in_pages(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ATTEMPTS_SHOWN", 4)
    monkeypatch.setattr(reading, "HISTORY_SHOWN", 10)
    saga = trips.make_compensation_failing()
    client, numbers, attempts = log_in("viewer"), [], []
    url: str | None = page_of(saga, "history")

    while url is not None:
        shown = client.get(url).context["page"]
        numbers = [row.number for row in shown.history] + numbers
        url = page_of(saga) + shown.older_history_url if shown.older_history_url else None
    url = page_of(saga, "timeline")
    while url is not None:
        shown = client.get(url).context["page"]
        attempts = [row.pk for row in shown.attempts] + attempts
        url = page_of(saga) + shown.older_attempts_url if shown.older_attempts_url else None

    assert numbers == list(range(1, saga.history_count + 1))
    assert attempts == list(SagaAttempt.objects.filter(saga=saga).order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("value", ["", "9" * 18, "x", "\x00", "y" * 5000])
def test_steps_and_places_that_there_are_not_are_no_errors(log_in: LogIn, value: str) -> None:
    saga, client = trips.make_completed(), log_in("viewer")
    place = value if value.isdigit() else ""

    for tab in Tab:
        query = {"tab": tab.value, "history_before": place, "attempts_before": place, "step": value}
        assert client.get(page_of(saga), query).status_code == 200


def test_hostile_texts_are_escaped_everywhere(log_in: LogIn) -> None:
    saga = trips.start(order=HOSTILE)
    with trips.faults() as fault:
        fault.refuse("book_hotel", trips.RetryLater(HOSTILE, after=3000))
        trips.look(saga.pk)
    actor = trips.Actor(name=HOSTILE, is_trusted=True)
    operations.pause(saga.pk, actor=actor, reason=HOSTILE)

    text = "".join(log_in("admin").get(page_of(saga, tab)).content.decode() for tab in Tab)

    assert "<script>alert" not in text
    assert unescape(text).count("{{ 7|add:7 }}") >= 6
    for code in ("resume", "retry", "skip", "cancel"):
        assert b"<script>alert" not in log_in("admin").get(f"{LIST}{saga.pk}/act/{code}/").content


def test_links_are_made_by_those_who_know(log_in: LogIn) -> None:
    saga = trips.start(voyage="V-17", ferry="ada")

    def link_voyage(found: Saga, number: str) -> Iterable[links.Link]:
        assert found.pk == saga.pk
        yield links.Link(label=f"Voyage {number}", url=f"/admin/voyages/?q={number}")

    def link_nowhere(found: Saga, value: str) -> Iterable[links.Link]:
        yield links.Link(label=value, url=reverse("admin:no_such_page"))

    mine = (("voyage", link_voyage), ("voyage", link_voyage), ("ferry", link_nowhere), ("train", link_voyage))
    for name, resolver in mine:
        links.register(name, resolver)
    try:
        found = links.list_links(saga, {"voyage": "V-17", "ferry": "ada"})
        text = text_of(log_in("viewer").get(page_of(saga)))
    finally:
        for name, resolver in mine:
            links.unregister(name, resolver)

    assert found == [links.Link(label="Voyage V-17", url="/admin/voyages/?q=V-17")]
    assert '<a href="/admin/voyages/?q=V-17">Voyage V-17</a>' in text
    assert links.list_links(saga, {"voyage": "V-17", "ferry": "ada"}) == []


def test_links_can_be_overridden(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = trips.start()
    own = [links.Link(label="Own page", url="/own/")]
    monkeypatch.setattr(SagaAdmin, "get_links", lambda self, saga, keys: own)

    assert '<a href="/own/">Own page</a>' in text_of(log_in("viewer").get(page_of(saga)))


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()
    client = log_in("admin")

    for url in (LIST, *(page_of(saga, tab) for tab in Tab), f"{LIST}{saga.pk}/act/retry/", "/admin/sagas/sagaworker/"):
        text = text_of(client.get(url))
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        assert text.count("<script") == text.count("<script src=")
        for address in ("http://", "https://", '"//'):
            assert address not in text.replace("http://www.w3.org/2000/svg", "")


def test_tables_and_fields_are_labelled(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    client = log_in("admin")

    for tab in Tab:
        shown = text_of(client.get(page_of(saga, tab))).split('id="content-main"')[1]
        assert shown.count("<caption>") == shown.count("<table ") == 1
        assert "<th>" not in shown
    form = text_of(client.get(f"{LIST}{saga.pk}/act/mark-succeeded/?step=pay"))
    for name in ("reason", "evidence", "result"):
        assert f'<label for="id_{name}">' in form
        assert f'id="id_{name}_helptext"' in form
        assert f'aria-describedby="id_{name}_helptext"' in form
    for text in (text_of(client.get(page_of(saga))), form, text_of(client.get(LIST))):
        assert 'aria-live="polite"' in text


def test_workers_are_shown(log_in: LogIn) -> None:
    now = timezone.now()
    for name, age in (("here:1", 1), ("gone:2", 3600)):
        SagaWorker.objects.create(
            name=name, host=name[:4], pid=1, queues=["sagas"], started_at=now,
            last_sweep_at=now - trips.timedelta(seconds=age),
        )  # fmt: skip

    text = text_of(log_in("viewer").get("/admin/sagas/sagaworker/"))

    rows = text.split("<tbody>")[1].split("<tr>")[1:]
    assert ["at work" in row for row in rows] == [True, False]
    assert "not seen" in rows[1]
    assert "1 h ago" in rows[1]


def test_barrier_is_searched_by_whole_keys(log_in: LogIn) -> None:
    saga, now = trips.start(), timezone.now()
    for key in (f"{saga.pk}:book_hotel", f"{saga.pk}:pay", "other"):
        SagaBarrier.objects.create(key=key, direction="action", state="done", result={"secret": 1}, created_at=now)
    client = log_in("viewer")

    def found(text: str) -> list[str]:
        result = client.get("/admin/sagas/sagabarrier/", {"q": text}).context["cl"].result_list
        return sorted(row.key for row in result)

    assert found(str(saga.pk)) == [f"{saga.pk}:book_hotel", f"{saga.pk}:pay"]
    assert found(f"{saga.pk}:pay") == [f"{saga.pk}:pay"]
    assert found("oth") == []
    assert len(found("")) == 3


@pytest.mark.parametrize("model", [SagaWorker, SagaBarrier])
def test_machinery_is_for_looking_only(log_in: LogIn, model: Any) -> None:
    now = timezone.now()
    if model is SagaWorker:
        row = SagaWorker.objects.create(name="a:1", host="a", pid=1, started_at=now, last_sweep_at=now)
    else:
        row = SagaBarrier.objects.create(key="k", direction="action", state="done", result={"s": 1}, created_at=now)
    base, client = f"/admin/sagas/{model._meta.model_name}/", log_in("admin")
    before = model.objects.values().get()

    assert client.get(f"{base}add/").status_code == 403
    assert client.post(f"{base}{row.pk}/change/", {"pid": 7}).status_code == 403
    assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(base, {"result__isnull": "0"}).status_code in (302, 400)
    assert model.objects.values().get() == before
    assert log_in("staff").get(base).status_code == 403


def test_stored_results_need_the_payload_permission(log_in: LogIn) -> None:
    row = SagaBarrier.objects.create(
        key="k", direction="action", state="done", result={"secret": 1}, created_at=timezone.now()
    )
    url = f"/admin/sagas/sagabarrier/{row.pk}/change/"

    assert "secret" not in text_of(log_in("viewer").get(url))
    assert "secret" in text_of(log_in("supervisor").get(url))


def test_history_is_narrowed_to_failures_people_and_a_step(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    operations.mark_succeeded(
        saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="The bank's own page shows it."
    )
    client = log_in("viewer")

    def numbers(**query: str) -> list[int]:
        return [row.number for row in client.get(page_of(saga, "history", **query)).context["page"].history]

    told = SagaHistory.objects.filter(saga=saga)
    people = list(told.filter(actor="boss").order_by("number").values_list("number", flat=True))
    failures = told.filter(what__in=["step_unknown", "held"])
    of_pay = list(told.filter(step="pay").order_by("number").values_list("number", flat=True))
    assert numbers() == list(range(1, Saga.objects.get(pk=saga.pk).history_count + 1))
    assert numbers(only="people") == people != []
    assert set(failures.values_list("number", flat=True)) <= set(numbers(only="failures")) < set(numbers())
    assert numbers(step="pay") == of_pay
    assert numbers(step="pay", only="people") == [number for number in people if number in of_pay]


def test_waiting_for_an_answer_is_no_failure(log_in: LogIn) -> None:
    saga = trips.start()
    with faults() as fault:
        fault.refuse("book_flight", InProgress("Still looking.", poll_after=0), times=2)
        fault.refuse("book_flight", RetryLater("No line."))
        drain(saga)
    waited = SagaHistory.objects.filter(saga=saga, what="step_waiting").order_by("number")
    assert [entry.data["outcome"] for entry in waited] == ["in_progress", "in_progress", "retry"]

    shown = log_in("viewer").get(page_of(saga, "history", only="failures")).context["page"].history

    assert [row.number for row in shown] == [waited[2].number]


def test_narrowed_history_is_leafed_through_narrowed(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HISTORY_SHOWN", 3)
    saga = trips.make_compensation_failing()

    shown = log_in("viewer").get(page_of(saga, "history", only="failures", step="book_flight")).context["page"]

    last = shown.history[0].number
    assert shown.older_history_url == f"?tab=history&step=book_flight&only=failures&history_before={last}"


def test_step_that_the_saga_does_not_have_is_not_chosen(log_in: LogIn) -> None:
    saga = trips.make_completed()

    for tab in Tab:
        shown = log_in("viewer").get(page_of(saga, tab, step=HOSTILE)).context["page"]
        assert (shown.selection.step, shown.all_steps_url) == ("", "")


def test_saga_without_steps_has_a_page(log_in: LogIn) -> None:
    saga = trips.make_completed()
    SagaAttempt.objects.filter(saga=saga).delete()
    SagaStep.objects.filter(saga=saga).delete()
    client = log_in("admin")

    for tab in Tab:
        text = text_of(client.get(page_of(saga, tab)))
        assert "completed" in text
    assert "This saga has no steps." in text_of(client.get(page_of(saga)))


@pytest.mark.parametrize("person", ["viewer", "admin"])
def test_steps_of_any_name_and_number_are_drawn(log_in: LogIn, person: str) -> None:
    saga = trips.drain(trips.start(tall.MarathonSaga))
    saga.steps.filter(position=7).update(name=HOSTILE)
    client = log_in(person)

    for tab in Tab:
        with CaptureQueriesContext(connection) as queries:
            response = client.get(page_of(saga, tab))
        assert len(queries) <= 10
        assert b"<script>alert" not in response.content
        assert HOSTILE in text_of(response) or tab is Tab.HISTORY  # which keeps the old name
    assert "with these steps; what is shown is what the saga has stored" in text_of(client.get(page_of(saga)))
    assert client.get(page_of(saga, "steps", step=HOSTILE)).context["page"].steps[7].is_chosen


def test_graph_shows_what_the_code_says_of_steps(log_in: LogIn) -> None:
    saga = trips.make_completed()

    text = text_of(log_in("viewer").get(page_of(saga)))
    with registry.preserved():
        registry.forget("trip", 3)
        lost = text_of(log_in("viewer").get(page_of(saga)))

    assert "payments, external" in text
    assert "payments, external" not in lost
    for shown in (text, lost):
        assert "pivot ◆" in shown
        assert 'aria-label="pay, pivot: succeeded"' in shown
    assert "This code does not have trip, version 3" in lost


def test_banner_names_the_possible_actions(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    assert "You may:</strong> retry now, mark compensated: book_flight, pause, abandon." in text_of(
        log_in("supervisor").get(page_of(saga))
    )
    assert "You may:</strong> retry now, pause." in text_of(log_in("operator").get(page_of(saga)))
    assert "You may:" not in text_of(log_in("viewer").get(page_of(saga)))
