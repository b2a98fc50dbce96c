from django.apps import AppConfig
from django.core import checks

from .checks import check_gateway


class PaymentsConfig(AppConfig):
    name = "payments"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Payments"

    def ready(self) -> None:
        checks.register(check_gateway)
