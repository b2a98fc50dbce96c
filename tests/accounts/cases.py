"""Operations in a project with a custom user model; ``test_accounts`` runs them there."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client, TransactionTestCase

from sagas import Compensatable, Pivot, SagaDefinition, clock, nothing_to_undo
from sagas.engine import advance
from sagas.models import Saga, SagaAccess, SagaBulk, SagaHistory
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation
from tests.commands.cases import run_command

REASON = "The bank is back, see ticket 42."
LONG_MAIL = f"{'a' * 230}@example.com"
CONSOLE, API = "/admin/sagas/", "/api/sagas/"


class Small(SagaDefinition):
    first = Compensatable(nothing_to_undo, nothing_to_undo, participant="sagas")
    second = Pivot(nothing_to_undo, participant="sagas")

    class Meta:
        name = "small"


def make_account(email: str, number: int, *groups: str) -> Any:
    """Create a user of the project's model in groups of the console."""
    model = get_user_model()
    values: dict[str, Any] = {"email": email}
    if model.USERNAME_FIELD == "number":
        values["number"] = number
    account = model._default_manager.create(**values)
    account.groups.set(Group.objects.filter(name__in=groups))
    return account


class AccountTests(TransactionTestCase):
    """Operations on every path by a user without a user name."""

    serialized_rollback = True

    def setUp(self) -> None:
        self.boss = make_account(LONG_MAIL, 7, "Saga supervisors")
        self.name = str(self.boss.get_username())[:200]
        self.client = Client()
        self.client.force_login(self.boss)
        self.saga = advance.start(Small)

    def list_log(self) -> list[tuple[str, str | None]]:
        """Return the logged operations and their users."""
        rows = SagaHistory.objects.filter(what="operator_acted").order_by("pk")
        return list(rows.values_list("to_state", "actor"))

    def test_console_works_as_the_user(self) -> None:
        page = f"{CONSOLE}saga/{self.saga.pk}/"
        for address in (
            CONSOLE, f"{CONSOLE}saga/", f"{page}change/?tab=history", f"{page}refresh/", f"{CONSOLE}saga/refresh/",
            f"{CONSOLE}saga/log/?span=24h", f"{CONSOLE}saga/failures/", f"{CONSOLE}sagabulk/", f"{page}bundle/",
            f"{CONSOLE}sagaaccess/?q={self.name}", f"{page}payload/?of=input", f"{CONSOLE}sagabulk/new/?needs=any",
        ):  # fmt: skip
            assert self.client.get(address).status_code == 200, address
        export = self.client.get(f"{CONSOLE}saga/export/ndjson/")
        assert str(self.saga.pk) in b"".join(export.streaming_content).decode()

        saga = Saga.objects.get()
        form = {"reason": REASON, "revision": saga.revision, "seen": saga.history_count, "step": ""}
        assert self.client.post(f"{page}act/pause/", form).status_code == 302
        assert self.client.post(f"{page}act/cancel/", form).status_code == 409

        assert self.list_log() == [("pause", self.name)]
        assert set(SagaAccess.objects.values_list("actor", flat=True)) == {self.name}
        accessed = set(SagaAccess.objects.values_list("what", flat=True))
        assert accessed == {"page", "history", "bundle", "value", "export"}
        assert self.name in self.client.get(f"{CONSOLE}saga/log/?span=24h").content.decode()

    def test_bulk_runs_while_its_user_has_permission(self) -> None:
        advance.start(Small)
        selected = [str(pk) for pk in Saga.objects.values_list("pk", flat=True)]
        draw = {"action": "pause", "index": "0", "_selected_action": selected}
        page = self.client.post(f"{CONSOLE}saga/", draw)["Location"]
        start = page.replace("/change/", "/start/")
        assert self.client.post(start, {"reason": REASON}).status_code == 302
        found = SagaBulk.objects.get()
        assert (found.account, found.actor) == (str(self.boss.pk), self.name)
        with clock.restored():
            clock.move(timedelta(seconds=10))
            runner.advance(found.pk)
        assert freezing.find_bulk(found.pk).counts["done"] == 2
        assert self.list_log() == [("pause", self.name)] * 2

        again = freezing.freeze_selected(Operation.RESUME, [self.saga.pk], actor=Actor.of_user(self.boss))
        freezing.start_bulk(again.pk, actor=Actor.of_user(self.boss), reason=REASON)
        self.boss.groups.clear()
        runner.advance(again.pk)
        assert freezing.find_bulk(again.pk).counts["refused"] == 1

    def test_api_works_as_the_user(self) -> None:
        post: dict[str, Any] = {"content_type": "application/json"}
        act = f"{API}{self.saga.pk}/actions/pause/"
        for address in (API, f"{API}{self.saga.pk}/", act, f"{API}bulks/"):
            assert self.client.get(address).status_code == 200, address
        done = self.client.post(act, {"reason": REASON, "revision": 1}, **post)
        stale = self.client.post(act.replace("pause", "cancel"), {"reason": REASON, "revision": 1}, **post)
        frozen = self.client.post(f"{API}bulks/", {"operation": "resume", "sagas": [str(self.saga.pk)]}, **post)
        started = self.client.post(f"{frozen['Location']}start/", {"reason": REASON}, **post)

        assert [done.status_code, stale.status_code, started.status_code] == [200, 409, 200]
        assert self.list_log() == [("pause", self.name)]
        assert SagaBulk.objects.get().account == str(self.boss.pk)

    def test_command_works_as_the_user_named_by_login(self) -> None:
        make_account("nobody@example.com", 8)
        name = str(self.boss.get_username())
        other = "8" if name == "7" else "nobody@example.com"
        act = ("saga_pause", self.saga.pk, "--reason", REASON, "--user")

        assert run_command(*act, other).code == 1
        for unknown in ("9", "nobody", "\x00"):
            done = run_command(*act, unknown)
            assert done.code == 2, unknown
            assert "Traceback" not in done.err
        assert run_command(*act, name).code == 0

        [(operation, actor)] = self.list_log()
        assert (operation, actor) == ("pause", f"{name} ({Actor.of_command_line().name})"[:200])

    def test_inactive_user_does_nothing(self) -> None:
        if not any(field.name == "is_active" for field in get_user_model()._meta.get_fields()):
            return
        get_user_model()._default_manager.update(is_active=False)

        done = run_command("saga_pause", self.saga.pk, "--reason", REASON, "--user", self.boss.get_username())

        assert done.code == 2
        assert "There is no active user" in done.err
        assert self.list_log() == []
