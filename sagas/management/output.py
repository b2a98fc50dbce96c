"""What commands print: the one place where text from data becomes safe for a terminal.

A command writes lines, JSON or the content of a file; whichever it is, nothing it prints acts on the terminal, and an
output that cannot be written (a full disk, a reader that has gone) is an error of its own and no traceback.
"""

from __future__ import annotations

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
        """Whether somebody (head, less) has seen enough."""


class SafeOutput(OutputWrapper):
    """An output of a command that shows what is invisible, and carries any text whatever its encoding."""

    def __init__(self, out: Any, ending: str = "\n", *, must_arrive: bool = True) -> None:
        super().__init__(out, ending)
        self._sink = out
        self._must_arrive = must_arrive
        if hasattr(out, "reconfigure"):
            # It flushes first, to a reader who may have gone; the next write tells of that.
            with suppress(OSError):
                out.reconfigure(errors="backslashreplace")

    def write(  # type: ignore[override]
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        """Write one line; a line break inside it is data, and is shown as an escape.

        ``style_func`` is given by Django alone, for what system checks say: several lines, coloured already.
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
        """Write a piece of a file exactly as it is; what made it has made it safe."""
        self._put(text)

    def flush(self) -> None:
        """Hand on what was written.

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
        """Report that the output is lost; of errors nobody could be told, so they are dropped.

        What is buffered must not fail at exit either, so it goes nowhere.
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
    """A parser whose complaints repeat what was typed without its invisible characters."""

    def error(self, message: str) -> Any:
        """Complain and end the command."""
        return super().error(escape(message))

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        """End the command after its help or its complaint was read, or was not."""
        if message:
            self._print_message(message, sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            SafeOutput(stream, must_arrive=False).flush()
        sys.exit(status)


def _escape_around_colours(text: str) -> str:
    parts = COLOUR.split(text)
    return "".join(part if COLOUR.fullmatch(part) else escape(part, keep="\n") for part in parts)
