from django.apps import AppConfig
from django.core import checks


class OrdersConfig(AppConfig):
    name = "orders"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Orders"

    def ready(self) -> None:
        """Register the checks of the settings."""
        # Imported late: the REST framework reads the settings, and through them this app, while it is imported.
        from .checks import check_coordination, check_rates

        checks.register(check_rates)
        checks.register(check_coordination)
