"""Client of the shop's REST API, with the standard library only."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any

# The shop is on this machine: no proxy of the environment is used, and no host name is looked up.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

OPEN_STATUSES = frozenset({"processing"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """HTTP response: its status, headers, and parsed JSON body (None if it has none)."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, kw_only=True)
class ShopClient:
    """Client of one shop.

    url: without a trailing slash. token: of a logged-in user. timeout_seconds: for one request.
    """

    url: str
    token: str = field(default="", repr=False)
    timeout_seconds: float = 40

    def log_in(self, username: str, password: str) -> ShopClient:
        """Log a user in, and return a client that sends the user's token."""
        answer = self.request("POST", "/api/v1/auth/token/", {"username": username, "password": password})
        if answer.status != 200:
            raise RuntimeError(f"Logging in as {username} returned {answer.status}: {answer.body}")
        return replace(self, token=answer.body["token"])

    def check_out(self, body: Mapping[str, Any], *, key: str = "", wait_seconds: int = 0) -> Answer:
        """Place a checkout under an idempotency key, a new one by default."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        if wait_seconds:
            headers["Prefer"] = f"wait={wait_seconds}"
        return self.request("POST", "/api/v1/checkout/", body, headers)

    def cancel(self, number: str) -> Answer:
        """Request the cancellation of an order."""
        return self.request("POST", f"/api/v1/orders/{number}/cancel/")

    def get_order(self, number: str) -> dict[str, Any]:
        """Return an order of this user."""
        answer = self.request("GET", f"/api/v1/orders/{number}/")
        if answer.status != 200:
            raise RuntimeError(f"Reading order {number} returned {answer.status}: {answer.body}")
        return dict(answer.body)

    def wait_for_order(self, number: str, timeout_seconds: float) -> dict[str, Any]:
        """Poll an order until it is no longer being processed, or the time is over.

        Returns: the order as last read.
        """
        give_up_at = time.monotonic() + timeout_seconds
        while True:
            order = self.get_order(number)
            if order["status"] not in OPEN_STATUSES or time.monotonic() > give_up_at:
                return order
            time.sleep(0.1)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; an error response is returned, not raised.

        Raises: OSError if there is no response, or not all of it.
        """
        request = urllib.request.Request(  # noqa: S310 (the caller's own server)
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Accept": "application/json",
                **({"Content-Type": "application/json"} if body is not None else {}),
                **({"Authorization": f"Token {self.token}"} if self.token else {}),
                **(headers or {}),
            },
        )
        try:
            with _opener.open(request, timeout=self.timeout_seconds) as response:
                return Answer(status=response.status, headers=response.headers, body=parse_json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, headers=error.headers, body=parse_json(error.read()))
        except HTTPException as error:
            raise ConnectionError(f"{method} {path}: the response broke off ({error}).") from error


def parse_json(content: bytes) -> Any:
    """Return the parsed body; None if it is empty or no JSON."""
    try:
        return json.loads(content)
    except ValueError:
        return None
