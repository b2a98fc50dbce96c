"""Speak to the shop's REST API with nothing but the standard library, as any client would."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# A host name would be looked up, and a proxy of the environment asked, for an address of this very machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

OPEN_STATUSES = frozenset({"processing"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer: its status, headers, and parsed JSON body (None when it has none)."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, kw_only=True)
class ShopClient:
    """A client of one shop.

    url: without a slash at its end. token: of a logged-in user. timeout_seconds: for one request.
    """

    url: str
    token: str = field(default="", repr=False)
    timeout_seconds: float = 40

    def log_in(self, username: str, password: str) -> ShopClient:
        """Return a client that sends this user's token."""
        answer = self.request("POST", "/api/v1/auth/token/", {"username": username, "password": password})
        if answer.status != 200:
            raise RuntimeError(f"Logging in as {username} answered {answer.status}: {answer.body}")
        return replace(self, token=answer.body["token"])

    def check_out(self, body: Mapping[str, Any], *, key: str = "", wait_seconds: int = 0) -> Answer:
        """Place a checkout under an idempotency key, a new one by default."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        if wait_seconds:
            headers["Prefer"] = f"wait={wait_seconds}"
        return self.request("POST", "/api/v1/checkout/", body, headers)

    def get_order(self, number: str) -> dict[str, Any]:
        """Read an order of this user."""
        answer = self.request("GET", f"/api/v1/orders/{number}/")
        if answer.status != 200:
            raise RuntimeError(f"Reading order {number} answered {answer.status}: {answer.body}")
        return dict(answer.body)

    def wait_for_order(self, number: str, timeout_seconds: float) -> dict[str, Any]:
        """Read an order until it is no longer being processed, or the time is over.

        Returns: the order as it was read last.
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
        """Send one request; an error answer is an answer, not an exception.

        Raises: OSError when there is no answer.
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


def parse_json(content: bytes) -> Any:
    """Parse a body; None when there is none or it is something else."""
    try:
        return json.loads(content)
    except ValueError:
        return None
