"""Tell people by mail or webhook that a saga needs them: hooks for ``SAGAS["ON_ATTENTION"]``, and what any hook gets.

A message names the saga, never its input, results, errors or business keys: mail and chat are read by many. Nothing
here is called while a lock or a transaction is held; ``sagas.engine.notify.alert_dispatch`` sees to that.

Source: Stripe's webhook signatures (time stamp and body under one HMAC).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from uuid import UUID

from django.conf import settings as project
from django.core import mail

from ._version import __version__
from .conf import get_settings
from .exceptions import SagaError

SIGNATURE_HEADER, TIME_HEADER = "Sagas-Signature", "Sagas-Timestamp"
MAX_ANSWER_BYTES = 1024  # what a receiver says beyond its status interests nobody


class AlertNotSent(SagaError):
    """Report an alert that did not get through; it is tried again a few times."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Say that attention was raised on a saga, or that it is held: once for each time."""

    saga_id: UUID
    """The saga."""
    number: int
    """The number of the history row that tells of it."""
    definition: str
    """The stored name of its definition."""
    version: int
    """The version it runs on."""
    state: str
    """Where the saga stands."""
    reason: str
    """A hold or an attention, as stored."""
    step: str
    """The step; empty for the saga itself."""
    at: datetime
    """When it was raised, by the database's clock."""

    @property
    def id(self) -> str:
        """The same for every delivery of this alert, so that a receiver knows a repeat."""
        return f"{self.saga_id}:{self.number}"

    @property
    def url(self) -> str:
        """The saga's page, if SAGAS['CONSOLE_URL'] says where the admin is; else empty."""
        base = get_settings().console_url
        return f"{base.rstrip('/')}/sagas/saga/{self.saga_id}/change/" if base else ""

    @property
    def text(self) -> str:
        """One sentence for people."""
        where = f" at {self.step}" if self.step else ""
        return f"Saga {self.definition} {self.saga_id} needs a person: {self.reason.replace('_', ' ')}{where}."

    def as_dict(self) -> dict[str, Any]:
        """Shape: ``{"id", "saga_id", "definition", "version", "state", "reason", "step", "at", "url", "text"}``."""
        return {
            "id": self.id, "saga_id": str(self.saga_id), "definition": self.definition, "version": self.version,
            "state": self.state, "reason": self.reason, "step": self.step, "at": self.at.isoformat(), "url": self.url,
            "text": self.text,
        }  # fmt: skip


def send_mail(alert: Alert) -> None:
    """Send a mail to SAGAS['ALERT_EMAILS'], or to Django's ADMINS where that names nobody."""
    settings = get_settings()
    subject = f"[sagas] {alert.reason.replace('_', ' ')}: {alert.definition}"
    lines = [alert.text, f"It is {alert.state}. Raised at {alert.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.", alert.url]
    body = "\n".join(line for line in lines if line) + "\n"
    message = mail.EmailMessage(subject, body, None, settings.alert_emails)
    if not settings.alert_emails:
        message = mail.EmailMessage(
            f"{project.EMAIL_SUBJECT_PREFIX}{subject}", body, project.SERVER_EMAIL, _list_admins()
        )
    if message.to:
        _make_mailer(settings.alert_timeout.total_seconds()).send_messages([message])


def _list_admins() -> list[str]:
    """Return the addresses of ADMINS: until Django 6.0 pairs of name and address, since then addresses."""
    return [admin if isinstance(admin, str) else admin[1] for admin in project.ADMINS]


def _make_mailer(timeout_seconds: float) -> Any:
    """Return what sends mails, and waits for its server no longer than this.

    Arguments of Django's functions for one connection go away with Django 6.1's ``mailers``; only SMTP waits.
    """
    mailers = getattr(mail, "mailers", None)
    mailer = mail.get_connection() if mailers is None else mailers["default"]
    if hasattr(mailer, "timeout"):
        mailer.timeout = timeout_seconds
    return mailer


def send_webhook(alert: Alert) -> None:
    """Post the alert as JSON to SAGAS['ALERT_WEBHOOK_URL'], signed with SAGAS['ALERT_WEBHOOK_SECRET'].

    Raises: AlertNotSent when the receiver does not answer with 2xx in time; without the address: it may be secret.
    """
    settings = get_settings()
    body = json.dumps(alert.as_dict()).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"sagas/{__version__}"}
    if settings.alert_webhook_secret:
        moment = str(int(time.time()))
        headers[TIME_HEADER] = moment
        headers[SIGNATURE_HEADER] = f"sha256={sign(settings.alert_webhook_secret, moment, body)}"
    if not settings.alert_webhook_url.startswith(("http://", "https://")):
        raise AlertNotSent("SAGAS['ALERT_WEBHOOK_URL'] names no address to post to.")
    seconds = settings.alert_timeout.total_seconds()
    try:
        request = urllib.request.Request(  # noqa: S310 - checked above
            settings.alert_webhook_url, data=body, headers=headers, method="POST"
        )
        with urllib.request.build_opener(_StayHere).open(request, timeout=seconds) as response:
            response.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise AlertNotSent(f"The webhook answered {error.code}.") from None
    except (OSError, HTTPException, ValueError) as error:
        raise AlertNotSent(f"The webhook did not answer: {type(error).__name__}.") from None


def sign(secret: str, moment: str, body: bytes) -> str:
    """Return the signature of a webhook's body at a moment; a receiver computes the same, and refuses old moments.

    Units: ``moment`` in seconds since 1970, as text.
    """
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the address that was configured is the only one that gets the message."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuse."""
