"""Take secrets out of every line that is logged, as the engine does with what it stores; see sagas.redaction."""

from __future__ import annotations

import json
import logging

import structlog
from django.core.exceptions import ImproperlyConfigured

from sagas.conf import get_settings
from sagas.redaction import DEFAULT, Redactor


def find_redactor() -> Redactor:
    """Return the project's redactor, or the built-in one while the settings cannot be read."""
    try:
        return get_settings().redactor
    except ImproperlyConfigured:
        return DEFAULT


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Mask secrets in the whole line: message, facts and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return find_redactor().redact_text(super().format(record))


class RedactingJsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Mask secrets in every value of a line of JSON, by name and by shape, so that it stays JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(find_redactor().redact_data(json.loads(super().format(record))))
