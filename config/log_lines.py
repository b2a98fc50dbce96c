"""Formatters that mask secrets in log lines, and escape text that could act on a terminal or forge a line.

Secrets are masked as in the data that the engine stores; see sagas.core.redaction.redactor.
"""

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
    """Return the project's redactor, or the built-in one if the settings cannot be read."""
    try:
        return get_settings().redactor
    except ImproperlyConfigured:
        return DEFAULT


def show_invisible(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the message and the facts of a record, each as one line of visible characters.

    Secrets are masked first, because an escape inside a secret would hide it.
    """
    redactor = find_redactor()
    return {
        escape(name): escape(redactor.redact_text(value))
        if isinstance(value, str) and name not in SEVERAL_LINES
        else value
        for name, value in facts.items()
    }


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Formatter that masks secrets in the whole line: message, facts and traceback.

    Lines of a traceback are indented, so that an error's text cannot look like a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = find_redactor().redact_text(super().format(record))
        return escape(text, keep="\n").replace("\n", f"\n{INDENT}")


class RedactingJsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Formatter that masks secrets in every value of a JSON line, by name and by pattern; it stays valid JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in plain ASCII."""
        return json.dumps(find_redactor().redact_data(json.loads(super().format(record))))
