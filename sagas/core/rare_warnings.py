"""Rate limit for warnings that would otherwise fill a log."""

import logging
import time

PAUSE_SECONDS = 30.0


class RareWarnings:
    """Warnings of one kind, of which at most one is logged per ``PAUSE_SECONDS``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._warned_at = -PAUSE_SECONDS

    def warn(self, message: str) -> None:
        """Log a warning, unless one was logged within ``PAUSE_SECONDS``."""
        now = time.monotonic()
        if now - self._warned_at >= PAUSE_SECONDS:
            self._warned_at = now
            self._logger.warning(message)
