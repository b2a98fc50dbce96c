"""Permission groups of the console: viewers, operators, supervisors."""

from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, connections, router

_Link: Any = Group.permissions.through  # a related manager would ask the routers, not the database that is migrated

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
    "view_event",
)
OPERATE = (
    "view_error", "retry_saga", "remedy_saga", "pause_saga", "cancel_saga", "note_saga", "bulk_saga",
    "retry_event",
)  # fmt: skip
SUPERVISE = (
    "view_payload", "view_sagaaccess", "compensate_saga", "override_saga", "abandon_saga", "share_view",
    "view_event_payload", "view_event_personal", "replay_event", "discard_event",
)  # fmt: skip

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Saga viewers": VIEW,
    "Saga operators": (*VIEW, *OPERATE),
    "Saga supervisors": (*VIEW, *OPERATE, *SUPERVISE),
}


def ensure_groups(using: str = DEFAULT_DB_ALIAS, *, known: frozenset[str] | None = None) -> None:
    """Create the groups; a new group gets all its permissions, an existing one only permissions that are new.

    So an administrator's changes to a group stay. ``known``: permissions that existed before; by default those that
    exist now.

    Tx: none needed; it is idempotent.
    """
    known = read_permissions(using) if known is None else known
    # The order of INSTALLED_APPS decides whether the permissions exist yet.
    create_permissions(apps.get_app_config("sagas"), verbosity=0, using=using)
    own = Permission.objects.using(using).filter(content_type__app_label="sagas")
    permissions = {permission.codename: permission for permission in own}
    for name, codenames in GROUPS.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        granted = [codename for codename in codenames if is_new or codename not in known]
        links = [_Link(group_id=group.pk, permission_id=permissions[codename].pk) for codename in granted]
        _Link.objects.using(using).bulk_create(links, ignore_conflicts=True)


def read_permissions(using: str) -> frozenset[str]:
    """Return the codenames of this app's permissions in a database; none before their table exists."""
    tables = {Permission._meta.db_table, ContentType._meta.db_table}
    if not tables <= set(connections[using].introspection.table_names()):
        return frozenset()
    own = Permission.objects.using(using).filter(content_type__app_label="sagas")
    return frozenset(own.values_list("codename", flat=True))


def note_permissions_before_migrate(app_config: AppConfig, using: str, **_: Any) -> None:
    """Record the permissions on pre_migrate: before the groups are made, other receivers may create new ones."""
    if _holds_accounts(using):
        _known_before[using] = read_permissions(using)


def ensure_groups_after_migrate(app_config: AppConfig, using: str, **_: Any) -> None:
    """Create the groups on post_migrate; do nothing for a database without accounts."""
    if _holds_accounts(using):
        ensure_groups(using, known=_known_before.pop(using, None))


_known_before: dict[str, frozenset[str]] = {}
"""Permissions by database, from before the migration that runs in this process."""


def _holds_accounts(using: str) -> bool:
    return router.allow_migrate_model(using, Group) and router.allow_migrate_model(using, Permission)
