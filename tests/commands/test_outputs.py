"""Output errors: a full disk, a closed pipe or an encoding is one line, never a traceback."""

import errno
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from config.local.programs import manage_command
from config.local.runtime import ROOT
from sagas.management.output import OutputFailed, SafeOutput
from sagas.models import SagaKey

from .cases import completed_trip, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")

CALLS = [
    ("saga_list",),
    ("saga_list", "--json"),
    ("saga_export",),
    ("saga_export", "--format", "ndjson"),
    ("saga_graph", "trip"),
    ("saga_verify_log",),
    ("saga_bulk_show",),
    ("saga_cleanup", "--older-than", "30d", "--dry-run"),
]


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[None]:
    before, sys.stdout = sys.stdout, stream  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout = before


@contextmanager
def keep_connections() -> Iterator[None]:
    close_all, connections.close_all = connections.close_all, lambda: None
    try:
        yield
    finally:
        connections.close_all = close_all


def run(stream: TextIO | None, *call: str) -> None:
    with standard_output(stream), keep_connections():
        call_command(*call, skip_checks=True)


class FailingStream(io.StringIO):
    """Stream that fails like a full disk or a closed pipe: at once, or when its buffer is flushed."""

    def __init__(self, error: OSError, *, is_buffered: bool) -> None:
        super().__init__()
        self.error, self.is_buffered = error, is_buffered

    def write(self, text: str) -> int:
        if not self.is_buffered:
            raise self.error
        return len(text)

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_full_disk_exits_with_1_and_a_message(call: tuple[str, ...], is_buffered: bool) -> None:
    start_trip()
    full = FailingStream(OSError(errno.ENOSPC, "No space left on device"), is_buffered=is_buffered)

    with pytest.raises(CommandError) as caught:
        run(full, *call)

    assert caught.value.returncode == 1
    assert str(caught.value) == "The output cannot be written: No space left on device."


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_closed_output_exits_with_1_and_a_message(call: tuple[str, ...]) -> None:
    start_trip()

    with pytest.raises(CommandError, match="The output cannot be written: it is closed") as caught:
        run(None, *call)

    assert caught.value.returncode == 1


@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_closed_pipe_is_not_a_failure(call: tuple[str, ...], is_buffered: bool) -> None:
    start_trip()

    run(FailingStream(BrokenPipeError(errno.EPIPE, "Broken pipe"), is_buffered=is_buffered), *call)


def test_messages_without_a_stderr_are_dropped() -> None:
    nobody = SafeOutput(None, must_arrive=False)
    nobody.write("text")
    nobody.flush()

    with pytest.raises(OutputFailed):
        SafeOutput(None).write("text")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_every_text_is_printed_in_every_encoding(encoding: str, errors: str) -> None:
    saga = completed_trip()
    SagaKey.objects.filter(saga=saga).update(value="Käse 中文 🙂 \u202e")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")

    run(stream, "saga_list", "--wide")
    run(stream, "saga_show", str(saga.pk))
    run(stream, "saga_graph", "trip")
    run(stream, "saga_export")
    position = stream.tell()
    run(stream, "saga_show", str(saga.pk), "--json")

    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert "\\u202e" in text
    assert ("Käse" in text) is (encoding != "ascii")
    assert json.loads(raw.getvalue()[position:])["keys"] == {"trip": "Käse 中文 🙂 \u202e"}


class AsciiOnly(io.StringIO):
    """Stream whose encoding errors cannot be configured."""

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


def test_custom_ascii_stream_gets_escapes() -> None:
    saga = start_trip()
    SagaKey.objects.filter(saga=saga).update(value="Käse")
    stream = AsciiOnly()

    call_command("saga_list", stdout=stream, skip_checks=True)

    assert "trip=K\\xe4se" in stream.getvalue()


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("> /dev/full", 1),
        (">&-", 1),
        ("2>&- >&-", 1),
        ("| true", 0),
        ("--help | true", 0),
        ("--nothing 2>&1 | true", 2),
        ("--nothing 2> /dev/full", 2),
        ("--nothing 2>&-", 2),
    ],
)
def test_process_ends_without_a_traceback(rest: str, code: int) -> None:
    # Unbuffered streams would never fail at exit.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = f"{shlex.join(manage_command('saga_graph', 'checkout'))} {rest}; echo code ${{PIPESTATUS[0]}} >&2"

    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stderr.splitlines()[-1] == f"code {code}", done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
