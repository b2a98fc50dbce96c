from django.apps import AppConfig


class WorkshopConfig(AppConfig):
    name = "examples.engraving"
    label = "workshop"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Workshop (demo)"
