from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from sagas.admin.groups import GROUPS, ensure_groups

pytestmark = pytest.mark.django_db

VIEW = {
    "view_saga", "view_sagakey", "view_sagastep", "view_sagaattempt", "view_sagahistory", "view_sagabarrier",
    "view_sagaworker", "view_sagabulk", "view_sagabulkitem",
}  # fmt: skip
OPERATE = VIEW | {"retry_saga", "pause_saga", "cancel_saga"}
ALL = OPERATE | {"view_payload", "view_sagalook", "compensate_saga", "override_saga", "abandon_saga", "bulk_saga"}


def codenames(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_migrating_makes_the_groups() -> None:
    assert codenames("Saga viewers") == VIEW
    assert codenames("Saga operators") == OPERATE
    assert codenames("Saga supervisors") == ALL


def test_supervisors_have_everything_that_the_console_asks_for() -> None:
    own = Permission.objects.filter(content_type__app_label="sagas")
    edits = ("add_", "change_", "delete_")

    assert codenames("Saga supervisors") == {p.codename for p in own if not p.codename.startswith(edits)}


def test_doing_it_again_changes_nothing_and_mends_what_is_missing() -> None:
    operators = Group.objects.get(name="Saga operators")
    extra = Permission.objects.get(codename="view_user")
    operators.permissions.add(extra)
    Group.objects.get(name="Saga viewers").permissions.clear()
    Group.objects.get(name="Saga supervisors").delete()

    ensure_groups()
    ensure_groups()

    assert codenames("Saga viewers") == VIEW
    assert codenames("Saga operators") == OPERATE | {"view_user"}
    assert codenames("Saga supervisors") == ALL
    assert Group.objects.filter(name__in=GROUPS).count() == 3


def test_permissions_are_made_when_they_are_missing() -> None:
    Permission.objects.filter(codename="bulk_saga").delete()

    ensure_groups()

    assert codenames("Saga supervisors") == ALL


def test_migrate_command_mends_the_groups() -> None:
    Group.objects.filter(name__in=GROUPS).delete()

    call_command("migrate", "sagas", verbosity=0)

    assert codenames("Saga operators") == OPERATE
