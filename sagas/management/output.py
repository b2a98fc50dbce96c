"""Output of commands: the only place where text from data is made safe for a terminal.

A command writes lines, JSON or the content of a file. None of it acts on the terminal, and an output that cannot be
written (full disk, closed pipe) raises an error of its own instead of a traceback.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper

from ..core.visible import escape, escape_json

COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
PROCESS_STREAMS = (1, 2)  # file descriptors of the standard output and the standard error output


class OutputFailed(Exception):
    """The standard output cannot be written."""

    def __init__(self, message: str, *, is_reader_gone: bool = False) -> None:
        super().__init__(message)
        self.is_reader_gone = is_reader_gone
        """Whether the reader (head, less) closed the pipe."""


class SafeOutput(OutputWrapper):
    """Output that shows invisible characters as escapes and can write any text in any encoding."""

    def __init__(self, out: Any, ending: str = "\n", *, must_arrive: bool = True) -> None:
        super().__init__(out, ending)
        self._sink = out
        self._must_arrive = must_arrive
        if hasattr(out, "reconfigure"):
            # It flushes first, and the reader may have closed the pipe; the next write reports that.
            with suppress(OSError):
                out.reconfigure(errors="backslashreplace")

    def write(  # type: ignore[override]
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        """Write one line; a line break inside it is data and is shown as an escape.

        Only Django passes ``style_func``, for messages of system checks: several lines, already coloured.
        Raises: OutputFailed.
        """
        ending = self.ending if ending is None else ending
        text = msg.removesuffix(ending) if ending else msg
        if style_func is not None:
            self._put(_escape_around_colours(text) + ending)
        else:
            self._put(self.style_func(escape(text)) + ending)

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines, each as ``write`` does."""
        for line in lines:
            self.write(line)

    def write_json(self, text: str) -> None:
        """Write a JSON document in plain ASCII, with its line breaks."""
        self._put(escape_json(text) + "\n")

    def write_file(self, text: str) -> None:
        """Write a part of a file unchanged; its producer has made it safe."""
        self._put(text)

    def flush(self) -> None:
        """Flush the output.

        Raises: OutputFailed.
        """
        try:
            if self._sink is not None:
                super().flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _put(self, text: str) -> None:
        if self._sink is None:
            self._fail(OSError("it is closed"))
            return
        try:
            try:
                self._sink.write(text)
            except UnicodeEncodeError:
                encoding = getattr(self._sink, "encoding", None) or "ascii"
                self._sink.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        """Raise OutputFailed for lost results; lost error messages are dropped, as they cannot be reported.

        Buffered text is discarded, so that it cannot fail at exit.
        """
        self._drop_buffered()
        if self._must_arrive:
            what = getattr(error, "strerror", None) or str(error)
            message = f"The output cannot be written: {what}."
            raise OutputFailed(message, is_reader_gone=isinstance(error, BrokenPipeError)) from error

    def _drop_buffered(self) -> None:
        try:
            number = self._sink.fileno()
        except (AttributeError, OSError, ValueError):
            return
        if number in PROCESS_STREAMS:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


class SafeParser(CommandParser):
    """Parser whose error messages escape the invisible characters of arguments."""

    def error(self, message: str) -> Any:
        """Print the error and end the command."""
        return super().error(escape(message))

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        """Print the message, flush, and end the command, even if its output cannot be written."""
        if message:
            self._print_message(message, sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            SafeOutput(stream, must_arrive=False).flush()
        sys.exit(status)


def _escape_around_colours(text: str) -> str:
    parts = COLOUR.split(text)
    return "".join(part if COLOUR.fullmatch(part) else escape(part, keep="\n") for part in parts)
