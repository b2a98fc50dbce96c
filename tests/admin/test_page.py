import re
from collections.abc import Iterable
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from sagas.admin import links
from sagas.admin.saga_admin import SagaAdmin
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS, Tab
from sagas.core.definition import registry
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from sagas.operators import operations
from sagas.operators.preconditions import Operation

from . import large_sagas, trips
from .pages import HOSTILE, LIST, LogIn, action_of, page_of, read, stored

pytestmark = pytest.mark.django_db


def read_whole(client: Client, saga: Saga) -> str:
    """Return every view of a saga."""
    return "".join(read(client.get(page_of(saga, tab))) for tab in ORCHESTRATION_TABS)


def test_titles_name_the_keys_as_they_were_given(log_in: LogIn) -> None:
    saga, client = trips.start(order="ORD-7", customer="ada"), log_in("supervisor")

    for url in (page_of(saga), action_of(saga, Operation.PAUSE)):
        assert "trip ORD-7 ada" in read(client.get(url)), url


def test_page_shows_the_complete_saga(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    text = read_whole(log_in("admin"), saga)

    for shown in (
        "The compensation of book_flight has used all its attempts; its effect remains.",
        "It turned back because pay refused: tests.admin.trips.CardDeclined: No money.",
        "Fix the cause that the error names. Then retry.",
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


def test_title_has_the_keys_in_the_order_in_which_they_were_given(log_in: LogIn) -> None:
    saga, client = trips.start(order="ORD-1", customer="CUST-1"), log_in("operator")
    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)

    page = client.get(page_of(saga))

    assert page.context["title"] == "trip ORD-1 CUST-1"
    assert list(page.context["page"].keys) == ["order", "customer"]
    for url in (action_of(saga, Operation.RESUME), f"{LIST}log/"):
        assert "trip ORD-1 CUST-1" in read(client.get(url))


@pytest.mark.parametrize("maker", trips.MAKERS)
@pytest.mark.parametrize("person", ["viewer", "admin"])
def test_every_state_has_a_page_with_few_queries(log_in: LogIn, person: str, maker: str) -> None:
    saga = trips.MAKERS[maker]()
    client, before = log_in(person), stored(saga)

    for tab in ORCHESTRATION_TABS:
        with CaptureQueriesContext(connection) as queries:
            text = read(client.get(page_of(saga, tab)))

        assert len(queries) <= 10, tab
        assert "FOR NO KEY UPDATE" not in " ".join(query["sql"] for query in queries)
        assert 'class="saga-banner saga-verdict saga-tone-' in text
        assert f'aria-current="page">{tab.value.capitalize()}</a>' in text
    assert stored(saga) == before


def test_page_of_a_missing_definition(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    with registry.preserved():
        registry.forget("trip", 3)
        text = read(log_in("admin").get(page_of(saga)))

    assert "book_hotel failed (attempt 1) and is tried again" in text


def test_payloads_need_their_own_permission(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()
    client = log_in("viewer")
    errors, payloads = (
        ("The airline is closed.", "No money."),
        ("Traceback (most", '"order_number"', '"made"', '"cause"'),
    )

    def read_as_allowed(*codenames: str) -> str:
        User.objects.get(username="viewer").user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return read_whole(client, saga)

    text = read_as_allowed()
    assert not any(hidden in text for hidden in (*errors, *payloads))
    assert "RuntimeError" in text
    assert "need the permission sagas.view_payload; error messages need sagas.view_error." in text
    text = read_as_allowed("view_error")
    assert all(shown in text for shown in errors)
    assert not any(hidden in text for hidden in payloads)
    assert "need the permission sagas.view_payload." in text
    text = read_as_allowed("view_payload")
    assert all(shown in text for shown in (*errors, *payloads))


def test_advice_names_what_the_reader_may_do(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    advice = {name: read(log_in(name).get(page_of(saga))) for name in ("viewer", "operator", "supervisor")}

    assert "Then ask a supervisor to retry. If it is already undone, ask a supervisor to mark" in advice["viewer"]
    assert "Then retry. If it is already undone, ask a supervisor to mark the step" in advice["operator"]
    assert "Then retry. If it is already undone, mark the step as compensated" in advice["supervisor"]


def test_operators_reasons_need_no_payload_permission(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    evidence = "The bank's own page shows it."
    operations.mark_succeeded(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence=evidence)

    text = read_whole(log_in("viewer"), saga)

    assert trips.REASON in text
    assert evidence in text
    assert "boss" in text
    assert "(decided by an operator)" in text


def test_page_is_read_only(log_in: LogIn) -> None:
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
    text = read(client.get(page_of(saga))) + read(client.get(LIST))
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
def test_unknown_id_redirects_to_the_list(log_in: LogIn, object_id: str) -> None:
    client = log_in("viewer")

    response = client.get(f"{LIST}{object_id}/change/", follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    assert "There is no saga" in read(response)
    assert b"<script>." not in response.content


def test_hostile_texts_are_escaped_everywhere(log_in: LogIn) -> None:
    saga = trips.make_refused("book_hotel", trips.RetryLater(HOSTILE, after=3000), order=HOSTILE)
    actor = trips.Actor(name=HOSTILE, is_trusted=True)
    operations.pause(saga.pk, actor=actor, reason=HOSTILE)

    text = "".join(log_in("admin").get(page_of(saga, tab)).content.decode() for tab in ORCHESTRATION_TABS)

    assert "<script>alert" not in text
    assert unescape(text).count("{{ 7|add:7 }}") >= 6
    for code in ("resume", "retry", "skip", "cancel"):
        assert b"<script>alert" not in log_in("admin").get(f"{LIST}{saga.pk}/act/{code}/").content


def test_projects_provide_links(log_in: LogIn) -> None:
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
        text = read(log_in("viewer").get(page_of(saga)))
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

    assert '<a href="/own/">Own page</a>' in read(log_in("viewer").get(page_of(saga)))


def test_nothing_is_inline_or_from_another_host(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()
    client = log_in("admin")

    for url in (
        LIST,
        *(page_of(saga, tab) for tab in ORCHESTRATION_TABS),
        f"{LIST}{saga.pk}/act/retry/",
        "/admin/sagas/sagaworker/",
    ):
        text = read(client.get(url))
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        assert text.count("<script") == text.count("<script src=")
        for address in ("http://", "https://", '"//'):
            assert address not in text.replace("http://www.w3.org/2000/svg", "")


def test_tables_and_fields_are_labelled(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    client = log_in("admin")

    for tab in ORCHESTRATION_TABS:
        shown = read(client.get(page_of(saga, tab))).split('id="content-main"')[1]
        assert shown.count("<caption>") == shown.count("<table ") == 1
        assert "<th>" not in shown
    form = read(client.get(f"{LIST}{saga.pk}/act/mark-succeeded/?step=pay"))
    for name in ("reason", "evidence", "result"):
        assert f'<label for="id_{name}">' in form
        assert f'id="id_{name}_helptext"' in form
        assert f'aria-describedby="id_{name}_helptext"' in form
    for text in (read(client.get(page_of(saga))), form, read(client.get(LIST))):
        assert 'aria-live="polite"' in text


def test_saga_without_steps_has_a_page(log_in: LogIn) -> None:
    saga = trips.make_completed()
    SagaAttempt.objects.filter(saga=saga).delete()
    SagaStep.objects.filter(saga=saga).delete()
    client = log_in("admin")

    for tab in ORCHESTRATION_TABS:
        text = read(client.get(page_of(saga, tab)))
        assert "completed" in text
    assert "This saga has no steps." in read(client.get(page_of(saga, Tab.GRAPH)))


@pytest.mark.parametrize("person", ["viewer", "admin"])
def test_any_number_of_steps_with_any_names_is_drawn(log_in: LogIn, person: str) -> None:
    saga = trips.drain(trips.start(large_sagas.MarathonSaga))
    saga.steps.filter(position=7).update(name=HOSTILE)
    client = log_in(person)

    for tab in ORCHESTRATION_TABS:
        with CaptureQueriesContext(connection) as queries:
            response = client.get(page_of(saga, tab))
        assert len(queries) <= 10
        assert b"<script>alert" not in response.content
        assert HOSTILE in read(response) or tab is Tab.HISTORY  # keeps the old name
    assert "with these steps; the graph shows what the saga has stored" in read(client.get(page_of(saga, Tab.GRAPH)))
    assert client.get(page_of(saga, "steps", step=HOSTILE)).context["page"].steps[7].is_chosen


def test_graph_shows_the_steps_of_the_definition(log_in: LogIn) -> None:
    saga = trips.make_completed()

    text = read(log_in("viewer").get(page_of(saga, Tab.GRAPH)))
    with registry.preserved():
        registry.forget("trip", 3)
        lost = read(log_in("viewer").get(page_of(saga, Tab.GRAPH)))

    assert "payments, external" in text
    assert "payments, external" not in lost
    for shown in (text, lost):
        assert "pivot ◆" in shown
        assert 'aria-label="pay, pivot: succeeded"' in shown
    assert "The code does not have trip, version 3" in lost


def test_operations_are_ordered_by_what_the_state_asks_for(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    def list_operations(role: str) -> tuple[list[str], ...]:
        page = log_in(role).get(page_of(saga)).context["page"]
        return tuple([choice.label for choice in choices] for choices in (page.main, page.beside, page.more))

    assert list_operations("supervisor") == (["Retry now"], ["Mark compensated: book_flight"], ["Pause", "Abandon"])
    assert list_operations("operator") == (["Retry now"], [], ["Pause"])
    assert list_operations("viewer") == ([], [], [])


def test_console_has_its_own_icon(log_in: LogIn) -> None:
    client, link = log_in("admin"), 'rel="icon" type="image/svg+xml"'

    for url in ("/admin/sagas/", LIST, page_of(trips.start()), "/admin/sagas/sagaworker/", f"{LIST}failures/"):
        assert re.search(r"<link[^>]*sagas/favicon[^>]*>", client.get(url).content.decode()), url
    assert link in client.get("/admin/sagas/").content.decode()


def test_list_without_a_hint_for_its_search_shows_none(log_in: LogIn) -> None:
    for url in ("/admin/sagas/sagaaccess/", "/admin/sagas/sagabarrier/", "/admin/sagas/sagaworker/", LIST):
        assert ">None<" not in log_in("admin").get(url).content.decode(), url
