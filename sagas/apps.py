"""App configuration: finds definitions and registers checks."""

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.module_loading import autodiscover_modules


class SagasConfig(AppConfig):
    """Configuration that discovers what apps define, as the admin finds ``<app>.admin``, and registers checks."""

    name = "sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and import all modules that define something."""
        # They register themselves, and need the app registry. Without the task a worker would refuse every wake-up,
        # so this must not depend on the project's autodiscover_tasks().
        from . import tasks  # noqa: F401
        from .choreography import tracker
        from .monitoring import celery_checks, checks, choreography_checks, function_checks, remedy_checks  # noqa: F401

        autodiscover_modules("sagas", "remedies", "events", "handlers", "choreography")
        tracker.subscribe()
        if apps.is_installed("django.contrib.admin"):
            pre_migrate.connect(_note_permissions, sender=self, dispatch_uid="sagas.admin.ui.groups")
            post_migrate.connect(_ensure_groups, sender=self, dispatch_uid="sagas.admin.ui.groups")


def _note_permissions(**facts: Any) -> None:
    """Note which permissions exist before a migration."""
    from .admin.ui.groups import note_permissions_before_migrate  # needs the app registry

    note_permissions_before_migrate(**facts)


def _ensure_groups(**facts: Any) -> None:
    """Create the console's groups after every migration; only projects with the admin have accounts."""
    from .admin.ui.groups import ensure_groups_after_migrate  # needs the app registry

    ensure_groups_after_migrate(**facts)
