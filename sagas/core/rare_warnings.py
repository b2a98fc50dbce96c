"""Warnings that would otherwise fill a log: at most one in a while."""

from __future__ import annotations

import logging
import time

PAUSE_SECONDS = 30.0


class RareWarnings:
    """Warnings of one kind, of which one is logged in ``PAUSE_SECONDS``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._warned_at = -PAUSE_SECONDS

    def warn(self, message: str) -> None:
        """Log a warning, unless one was logged a moment ago."""
        now = time.monotonic()
        if now - self._warned_at >= PAUSE_SECONDS:
            self._warned_at = now
            self._logger.warning(message)
