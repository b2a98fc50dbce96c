"""Alerts by mail or webhook: hooks for ``SAGAS["ON_ATTENTION"]``, and the alerts that every hook gets.

A message names the saga or the participant, never inputs, results, errors, business keys or an event's data, because
many people read mail and chat.
``sagas.engine.notify.alert_dispatch`` ensures that no hook is called while a lock or a transaction is held.

Source: Stripe's webhook signatures (time stamp and body under one HMAC).
"""

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
MAX_ANSWER_BYTES = 1024  # only the status of a response is used


class AlertNotSent(SagaError):
    """An alert was not delivered; it is retried a few times."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Alert that attention was raised on a saga, or that it is held: one for each occurrence."""

    saga_id: UUID
    """Id of the saga."""
    number: int
    """Number of the history row that records the cause."""
    definition: str
    """Stored name of the saga's definition."""
    version: int
    """Version of the definition."""
    state: str
    """State of the saga."""
    reason: str
    """Hold or attention, as stored."""
    step: str
    """Name of the step; empty for the saga itself."""
    at: datetime
    """Time of the cause, by the database's clock."""

    @property
    def id(self) -> str:
        """Id shared by all deliveries of this alert, so that a receiver recognises repeats."""
        return f"{self.saga_id}:{self.number}"

    @property
    def url(self) -> str:
        """URL of the saga's page in the admin; empty without SAGAS['CONSOLE_URL']."""
        base = get_settings().console_url
        return f"{base.rstrip('/')}/sagas/saga/{self.saga_id}/change/" if base else ""

    @property
    def subject(self) -> str:
        """Subject of a mail."""
        return f"{self.reason.replace('_', ' ')}: {self.definition}"

    @property
    def details(self) -> str:
        """State and time of the cause as text."""
        return f"It is {self.state}. Raised at {_write_time(self.at)}."

    @property
    def text(self) -> str:
        """Alert as one sentence."""
        where = f" at {self.step}" if self.step else ""
        return f"Saga {self.definition} {self.saga_id} needs an operator: {self.reason.replace('_', ' ')}{where}."

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"id", "saga_id", "definition", "version", "state", "reason", "step", "at", "url", "text"}``."""
        return {
            "id": self.id, "saga_id": str(self.saga_id), "definition": self.definition, "version": self.version,
            "state": self.state, "reason": self.reason, "step": self.step, "at": self.at.isoformat(), "url": self.url,
            "text": self.text,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EventAlert:
    """Alert that events of a participant need an operator: one when it begins, and one whenever more are part of it."""

    participant: str
    """App label of the sender or consumer."""
    reason: str
    """Kind of trouble, such as ``dead_letters``."""
    what: str
    """What was found, as one sentence: numbers and ages, no data."""
    at: datetime
    """When it was found, by the clock of the participant's database."""

    @property
    def id(self) -> str:
        """Id shared by all deliveries of this alert, so that a receiver recognises repeats."""
        return f"{self.participant}:{self.reason}:{self.at.isoformat()}"

    @property
    def url(self) -> str:
        """URL of the admin; empty without SAGAS['CONSOLE_URL']."""
        return get_settings().console_url

    @property
    def subject(self) -> str:
        """Subject of a mail."""
        return f"{self.reason.replace('_', ' ')}: {self.participant}"

    @property
    def details(self) -> str:
        """Time of the cause as text."""
        return f"Raised at {_write_time(self.at)}."

    @property
    def text(self) -> str:
        """Alert as one sentence."""
        return f"Events of {self.participant} need an operator: {self.what}"

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"id", "participant", "reason", "at", "url", "text"}``."""
        return {
            "id": self.id, "participant": self.participant, "reason": self.reason, "at": self.at.isoformat(),
            "url": self.url, "text": self.text,
        }  # fmt: skip


AnyAlert = Alert | EventAlert


def send_mail(alert: AnyAlert) -> None:
    """Send a mail to SAGAS['ALERT_EMAILS'], or to Django's ADMINS if that is empty."""
    settings = get_settings()
    subject = f"[sagas] {alert.subject}"
    lines = [alert.text, alert.details, alert.url]
    body = "\n".join(line for line in lines if line) + "\n"
    message = mail.EmailMessage(subject, body, None, settings.alert_emails)
    if not settings.alert_emails:
        message = mail.EmailMessage(
            f"{project.EMAIL_SUBJECT_PREFIX}{subject}", body, project.SERVER_EMAIL, _list_admins()
        )
    if message.to:
        _make_mailer(settings.alert_timeout.total_seconds()).send_messages([message])


def _list_admins() -> list[str]:
    """Return the addresses in ADMINS: pairs of name and address before Django 6.0, plain addresses since."""
    return [admin if isinstance(admin, str) else admin[1] for admin in project.ADMINS]


def _make_mailer(timeout_seconds: float) -> Any:
    """Return a mail connection with this time-out.

    Django 6.1's ``mailers`` remove the connection arguments of Django's mail functions. Only SMTP has a time-out.
    """
    mailers = getattr(mail, "mailers", None)
    mailer = mail.get_connection() if mailers is None else mailers["default"]
    if hasattr(mailer, "timeout"):
        mailer.timeout = timeout_seconds
    return mailer


def send_webhook(alert: AnyAlert) -> None:
    """Post the alert as JSON to SAGAS['ALERT_WEBHOOK_URL'], signed with SAGAS['ALERT_WEBHOOK_SECRET'].

    Raises: AlertNotSent if the receiver does not answer with 2xx in time; its text omits the URL, which may be secret.
    """
    settings = get_settings()
    body = json.dumps(alert.as_dict()).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"sagas/{__version__}"}
    if settings.alert_webhook_secret:
        moment = str(int(time.time()))
        headers[TIME_HEADER] = moment
        headers[SIGNATURE_HEADER] = f"sha256={sign(settings.alert_webhook_secret, moment, body)}"
    if not settings.alert_webhook_url.startswith(("http://", "https://")):
        raise AlertNotSent("SAGAS['ALERT_WEBHOOK_URL'] is not an http:// or https:// URL.")
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
    """Return the signature of a webhook's time stamp and body; receivers compare it and refuse old time stamps.

    Units: ``moment`` in seconds since 1970, as text.
    """
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def _write_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows none: only the configured URL gets the message."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return None, which refuses the redirect."""
