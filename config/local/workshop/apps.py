from __future__ import annotations

from django.apps import AppConfig


class WorkshopConfig(AppConfig):
    name = "config.local.workshop"
    label = "workshop"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Workshop (demo)"
