"""Take secrets out of every line that is logged, and let no text in it act on a terminal or pass for another line.

Secrets are masked as the engine does with what it stores; see sagas.core.redaction.redactor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import MutableMapping
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured

from sagas.conf import get_settings
from sagas.core.redaction.redactor import DEFAULT, Redactor
from sagas.core.visible import escape

SEVERAL_LINES = frozenset({"exception", "exc_info", "stack"})
INDENT = "    "


def find_redactor() -> Redactor:
    """Return the project's redactor, or the built-in one while the settings cannot be read."""
    try:
        return get_settings().redactor
    except ImproperlyConfigured:
        return DEFAULT


def show_invisible(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the message and the facts of a record, each on one line of visible characters.

    Their secrets are masked before: an escape in its middle would hide one.
    """
    redactor = find_redactor()
    return {
        escape(name): escape(redactor.redact_text(value))
        if isinstance(value, str) and name not in SEVERAL_LINES
        else value
        for name, value in facts.items()
    }


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Mask secrets in the whole line: message, facts and traceback.

    Lines of a traceback are indented, so that no text of an error looks like a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = find_redactor().redact_text(super().format(record))
        return escape(text, keep="\n").replace("\n", f"\n{INDENT}")


class RedactingJsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Mask secrets in every value of a line of JSON, by name and by shape, so that it stays JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in plain ASCII."""
        return json.dumps(find_redactor().redact_data(json.loads(super().format(record))))
