"""Bind the shop's allowances to requests."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from orders.throttles import Allowance, parse_rate, spend


class CheckoutThrottle(BaseThrottle):
    """Limit the checkouts of a user, whichever addresses they come from."""

    scope = "checkout"

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request.

        Raises: AllowanceSpent.
        """
        count, period_seconds = parse_rate(api_settings.DEFAULT_THROTTLE_RATES[self.scope])
        spend(Allowance(scope=self.scope, subject=str(request.user.pk), count=count, period_seconds=period_seconds))
        return True


def find_client_address(request: Request) -> str:
    """Return the address that the request came from; NUM_PROXIES says how many headers are to be believed."""
    return BaseThrottle().get_ident(request) or ""
