"""Operations on events in the console: every role on every path, once, and whole groups of dead letters."""

from datetime import timedelta

import pytest

from sagas import clock
from tests.events import world
from tests.events.conftest import event_settings, flow, url
from tests.events.world import Behaviour, Paid

from .event_pages import DEAD, ONE, _count_anew, link, make_dead, operated, version_of
from .pages import LIST, REASON, LogIn, read, text_of

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
__all__ = ["_count_anew", "event_settings", "flow", "url"]


class TestOperations:
    @pytest.mark.parametrize("operation", ["retry", "replay", "discard"])
    @pytest.mark.parametrize(
        ("role", "allowed"),
        [
            ("anonymous", ()), ("staff", ()), ("viewer", ()), ("operator", ("retry",)),
            ("supervisor", ("retry", "replay", "discard")),
        ],
    )  # fmt: skip
    def test_every_role_on_every_path(
        self, flow: Behaviour, log_in: LogIn, operation: str, role: str, allowed: tuple[str, ...]
    ) -> None:
        [row] = make_dead(flow, "ORD-1")
        flow.fails.clear()
        client, refused = log_in(role), 302 if role == "anonymous" else 403

        got = client.get(link(row, operation))
        before = (world.inbox()[0].state, operated())
        form = {"reason": REASON, "version": version_of(log_in("admin"), link(row, operation))}
        posted = client.post(link(row, operation), form)

        assert before == ("dead", [])
        if operation in allowed:
            assert (got.status_code, posted.status_code, posted["Location"]) == (200, 302, link(row))
            assert operated() == [(role, operation, REASON)]
        else:
            assert (got.status_code, posted.status_code) == (refused, refused)
            assert (world.inbox()[0].state, operated()) == ("dead", [])

    @pytest.mark.parametrize(
        ("operation", "state"), [("retry", "retrying"), ("replay", "handled"), ("discard", "discarded")]
    )
    def test_second_click_does_nothing(self, flow: Behaviour, log_in: LogIn, operation: str, state: str) -> None:
        [row] = make_dead(flow, "ORD-1")
        flow.fails.clear()
        client, address = log_in("supervisor"), link(row, operation)
        form = {"reason": REASON, "version": version_of(client, address)}
        first = client.post(address, form, follow=True)
        second = client.post(address, form, follow=True)
        assert "Done: " in text_of(first)
        assert "Nothing was done: Already done, and only once" in text_of(second)
        assert (world.inbox()[0].state, len(operated())) == (state, 1)
        assert len(world.list_effects()) == (operation == "replay")

    def test_event_that_changed_meanwhile_is_left_alone(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        address = link(row, "retry")
        form = {"reason": REASON, "version": version_of(log_in("supervisor"), address)}
        log_in("operator").post(address, form)
        response = log_in("supervisor").post(address, form)
        assert response.status_code == 409
        assert "has changed since the plan was made: it is retrying now after operator's retry." in text_of(response)
        assert [actor for actor, _, _ in operated()] == ["operator"]
        assert response.context["plan"].version != form["version"]

    def test_event_is_sent_again_to_all(self, flow: Behaviour, log_in: LogIn) -> None:
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        [row] = world.inbox()
        client, address = log_in("supervisor"), link(row, "replay", consumer=None)
        assert "A consumer that has it ignores it" in read(client.get(address))
        client.post(address, {"reason": REASON, "version": version_of(client, address)})
        assert [sent.state for sent in world.outbox()] == ["unsent"]

    def test_handler_that_fails_again_changes_nothing(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("supervisor"), link(row, "replay")
        response = client.post(address, {"reason": REASON, "version": version_of(client, address)})
        assert response.status_code == 409
        assert "The handler failed, and TestPaid" in text_of(response)
        assert world.inbox()[0].state == "dead"

    def test_impossible_operation_is_explained(self, flow: Behaviour, log_in: LogIn) -> None:
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        [row] = world.inbox()
        client = log_in("supervisor")
        discard = client.get(link(row, "discard"))
        assert discard.status_code == 409
        assert "Only what was not handled can be discarded." in text_of(discard)
        assert client.get(link(row, "retry", consumer="nobody")).status_code == 400
        assert client.get(f"{ONE}retry/?id=7&consumer=inventory").status_code == 404

    def test_form_errors_are_shown(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("supervisor"), link(row, "discard")
        for form in ({"reason": "short", "version": "dead-0"}, {"reason": REASON}):
            response = client.post(address, form)
            assert response.status_code == 400
            assert "the form needs your attention" in text_of(response)
        assert operated() == []

    def test_operator_log_shows_who_did_it_and_why(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("operator"), link(row, "retry")
        client.post(address, {"reason": REASON, "version": version_of(client, address)})
        log = f"{LIST}log/"
        shown = log_in("viewer").get(log)
        [(logged, _, event_url)] = shown.context["event_rows"]
        assert (logged.actor, logged.operation, logged.reason) == ("operator", "retry", REASON)
        assert event_url == f"{ONE}?id={row.event_id}"
        assert "TestPaid ORD-1" in read(shown)
        assert log_in("viewer").get(log, {"actor": "ada"}).context["event_rows"] == []
        assert "has_events" not in log_in("viewer").get(log, {"action": "retry"}).context


class TestDeadLetters:
    def test_events_that_fail_alike_are_one_group(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1", "ORD-2")
        [row] = log_in("operator").get(DEAD).context["rows"]
        assert (len(row.group.events), row.group.keys, row.badge.word) == (2, 2, "dead")
        assert row.pattern == "ValueError: no shelf for '…'"
        [seen] = log_in("viewer").get(DEAD).context["rows"]
        assert (seen.pattern, seen.example, seen.retry_url) == ("", "", "")

    def test_group_is_retried_with_a_result_for_each(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1", "ORD-2")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        plan = client.get(row.retry_url)
        assert "2 events of 2 keys would be due at once." in read(plan)
        form = {"reason": REASON, "until": plan.context["until"]}
        done = client.post(row.retry_url, form)
        assert "2 of 2 events are due now" in read(done)
        assert [stored.state for stored in world.inbox()] == ["retrying", "retrying"]
        assert operated() == [("operator", "retry", REASON)] * 2
        again = client.post(row.retry_url, form)
        assert (again.status_code, len(operated())) == (409, 2)

    def test_later_events_are_left_alone(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        until = client.get(row.retry_url).context["until"]
        flow.fails["ORD-2"] = ValueError("no shelf for 'ORD-2'")
        world.send(Paid(order_id="ORD-2"))
        for _ in range(4):
            world.consume()
            clock.move(timedelta(seconds=2))
        client.post(row.retry_url, {"reason": REASON, "until": until})
        assert [stored.state for stored in world.inbox()] == ["retrying", "dead"]

    def test_many_need_their_number(self, flow: Behaviour, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("operators.dead_letters", "admin.events.group_page"):
            monkeypatch.setattr(f"sagas.{module}.CONFIRM_COUNT_ABOVE", 1)
        make_dead(flow, "ORD-1", "ORD-2")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        form = {"reason": REASON, "until": client.get(row.retry_url).context["until"]}
        refused = client.post(row.retry_url, {**form, "count": "3"})
        assert (refused.status_code, "type this number" in text_of(refused), operated()) == (400, True, [])
        assert client.post(row.retry_url, {**form, "count": "2"}).status_code == 200
        assert len(operated()) == 2

    def test_viewer_cannot_retry_a_group(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1")
        [row] = log_in("operator").get(DEAD).context["rows"]
        client = log_in("viewer")
        assert (client.get(row.retry_url).status_code, client.post(row.retry_url).status_code) == (403, 403)

    def test_empty_and_unknown_groups(self, flow: Behaviour, log_in: LogIn) -> None:
        client = log_in("operator")
        assert "No event is dead or parked." in read(client.get(DEAD))
        assert client.get(f"{DEAD}0123456789abcdef/retry/").status_code == 409
