from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from sagas.admin.ui.groups import GROUPS, ensure_groups

pytestmark = pytest.mark.django_db

VIEW = {
    "view_saga", "view_sagakey", "view_sagastep", "view_sagaattempt", "view_sagahistory", "view_sagabarrier",
    "view_sagaworker", "view_sagabulk", "view_sagabulkitem", "view_event",
}  # fmt: skip
OPERATE = VIEW | {
    "view_error", "retry_saga", "remedy_saga", "pause_saga", "cancel_saga", "note_saga", "bulk_saga",
    "retry_event",
}  # fmt: skip
ALL = OPERATE | {
    "view_payload", "view_sagaaccess", "compensate_saga", "override_saga", "abandon_saga", "share_view",
    "view_event_payload", "view_event_personal", "replay_event", "discard_event",
}  # fmt: skip


def codenames(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_migrations_create_the_groups() -> None:
    assert codenames("Saga viewers") == VIEW
    assert codenames("Saga operators") == OPERATE
    assert codenames("Saga supervisors") == ALL


def test_supervisors_have_every_permission_of_the_console() -> None:
    own = Permission.objects.filter(content_type__app_label="sagas")
    edits = ("add_", "change_", "delete_")

    assert codenames("Saga supervisors") == {p.codename for p in own if not p.codename.startswith(edits)}


def migrate() -> None:
    call_command("migrate", "sagas", verbosity=0)


@pytest.mark.parametrize("again", [ensure_groups, migrate])
def test_manual_changes_of_permissions_are_kept(again: Callable[[], None]) -> None:
    Group.objects.get(name="Saga operators").permissions.add(Permission.objects.get(codename="view_user"))
    Group.objects.get(name="Saga supervisors").permissions.remove(Permission.objects.get(codename="abandon_saga"))
    Group.objects.get(name="Saga viewers").delete()

    again()
    again()

    assert codenames("Saga viewers") == VIEW
    assert codenames("Saga operators") == OPERATE | {"view_user"}
    assert codenames("Saga supervisors") == ALL - {"abandon_saga"}
    assert Group.objects.filter(name__in=GROUPS).count() == 3


@pytest.mark.parametrize("again", [ensure_groups, migrate])
def test_new_permissions_are_given_once(again: Callable[[], None]) -> None:
    Group.objects.get(name="Saga supervisors").permissions.remove(Permission.objects.get(codename="abandon_saga"))
    Permission.objects.filter(codename__in=["bulk_saga", "view_saga"]).delete()

    again()

    assert codenames("Saga supervisors") == ALL - {"abandon_saga"}
    assert (codenames("Saga viewers"), codenames("Saga operators")) == (VIEW, OPERATE)
    Group.objects.get(name="Saga supervisors").permissions.remove(Permission.objects.get(codename="bulk_saga"))
    again()
    assert codenames("Saga supervisors") == ALL - {"abandon_saga", "bulk_saga"}


def test_migrate_command_creates_missing_groups() -> None:
    Group.objects.filter(name__in=GROUPS).delete()

    call_command("migrate", "sagas", verbosity=0)

    assert codenames("Saga operators") == OPERATE
