"""Set the engine up in a Django project: find definitions, register checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SagasConfig(AppConfig):
    """Discover ``<app>.sagas`` modules, like the admin discovers ``<app>.admin``."""

    name = "sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and import every definition."""
        from . import checks  # noqa: F401 - registers itself, and needs the app registry

        autodiscover_modules("sagas")
