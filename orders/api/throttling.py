"""Bind the shop's allowances to requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from orders.accounts.throttles import Allowance, spend
from orders.rates import parse_rate

if TYPE_CHECKING:
    # The framework reads this module while it makes its views.
    from rest_framework.views import APIView


class ScopeThrottle(BaseThrottle):
    """A limit for each user in the scope of a view, whichever addresses the requests come from."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request, if the view names a scope.

        Raises: AllowanceSpent.
        """
        scope = getattr(view, "throttle_scope", None)
        if scope is None:
            return True
        rate = parse_rate(api_settings.DEFAULT_THROTTLE_RATES[scope])
        spend(Allowance(scope=scope, subject=str(request.user.pk), rate=rate))
        return True


def find_client_address(request: Request) -> str:
    """Return the address that the request came from; NUM_PROXIES says how many headers are to be believed."""
    return BaseThrottle().get_ident(request) or ""
