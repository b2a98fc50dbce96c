"""Slow down who guesses passwords at the admin's log-in page: the same counters as the API's."""

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from rest_framework.throttling import BaseThrottle

from ..exceptions import AllowanceSpent
from .log_in import count_try


class ThrottledAuthenticationForm(AdminAuthenticationForm):
    """Count every try before the password is looked at, and give a successful one back."""

    def clean(self) -> dict[str, Any]:
        """Check the allowances, then the password.

        Raises: ValidationError with the seconds until the next attempt.
        """
        username = self.cleaned_data.get("username")
        if username is None or self.cleaned_data.get("password") is None:
            return super().clean()
        address = BaseThrottle().get_ident(self.request) or ""
        try:
            with count_try(username, address):
                return super().clean()
        except AllowanceSpent as error:
            seconds = f"{error.retry_after:.0f}"
            raise ValidationError(
                f"Too many log-in attempts; try again in {seconds} seconds.", code="too-many-tries"
            ) from error
