"""Make the groups that people are put into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import DEFAULT_DB_ALIAS, router

VIEW = (
    "view_saga",
    "view_sagakey",
    "view_sagastep",
    "view_sagaattempt",
    "view_sagahistory",
    "view_sagabarrier",
    "view_sagaworker",
    "view_sagabulk",
    "view_sagabulkitem",
)
OPERATE = ("retry_saga", "pause_saga", "cancel_saga")
SUPERVISE = ("view_payload", "view_sagalook", "compensate_saga", "override_saga", "abandon_saga", "bulk_saga")

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Saga viewers": VIEW,
    "Saga operators": (*VIEW, *OPERATE),
    "Saga supervisors": (*VIEW, *OPERATE, *SUPERVISE),
}


def ensure_groups(using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the groups and give them their permissions; what a group has beyond them is left to it.

    Tx: none needed; doing it twice changes nothing, and permissions that were taken away come back.
    """
    # The order of INSTALLED_APPS decides whether the permissions are there yet.
    create_permissions(apps.get_app_config("sagas"), verbosity=0, using=using)
    known = Permission.objects.using(using).filter(content_type__app_label="sagas")
    permissions = {permission.codename: permission for permission in known}
    for name, codenames in GROUPS.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.add(*(permissions[codename] for codename in codenames))


def ensure_groups_after_migrate(app_config: AppConfig, using: str, **_: Any) -> None:
    """Receive post_migrate of this app; does nothing for a database that holds no accounts."""
    if router.allow_migrate_model(using, Group) and router.allow_migrate_model(using, Permission):
        ensure_groups(using)
