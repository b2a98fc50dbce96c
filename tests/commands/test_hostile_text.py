"""Terminal safety: no command prints a control, bidi or zero-width character, or an extra line."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import BaseCommand, load_command_class
from django.utils import timezone

from sagas import clock
from sagas.conf import get_settings
from sagas.management.base import SagaCommand
from sagas.models import Saga, SagaAttempt, SagaBulk, SagaHistory, SagaKey, SagaStep, SagaWorker

from .cases import WHY, run_command, start_trip, unknown_trip
from .test_wrong_calls import COMMANDS, OTHER_COMMANDS

pytestmark = pytest.mark.django_db(databases="__all__")

HOSTILE = "\x1b]0;x\x07\x1b[2J\r\nSaga forged\t\u202eabc\u2066\u200b\u2028\u2029\x85\x9b31m\u3164 end"
SHOWN = "\\x1b]0;x\\x07\\x1b[2J\\r\\nSaga forged\\t\\u202eabc\\u2066\\u200b\\u2028\\u2029\\x85\\x9b31m\\u3164 end"
# The same where only the first line of a text is shown.
FIRST_LINE = "\\x1b]0;x\\x07\\x1b[2J"


def make_hostile() -> Saga:
    """Return a held saga with hostile text wherever the database allows it."""
    saga = unknown_trip("TRIP-1")
    SagaKey.objects.filter(saga=saga).update(value=HOSTILE[:60])
    Saga.objects.filter(pk=saga.pk).update(
        definition=HOSTILE[:60], cause={"kind": HOSTILE, "step": HOSTILE, "message": HOSTILE}
    )
    SagaStep.objects.filter(saga=saga, name="pay").update(last_error=HOSTILE, result={"answer": HOSTILE})
    SagaAttempt.objects.filter(step__saga=saga).update(message=HOSTILE, error_class=HOSTILE[:40], worker=HOSTILE[:40])
    SagaHistory.objects.create(
        saga=saga, number=saga.history_count + 1, at=saga.created_at, what="step_note", actor=HOSTILE, reason=HOSTILE
    )
    Saga.objects.filter(pk=saga.pk).update(history_count=saga.history_count + 1)
    return saga


def make_hostile_surroundings(saga: Saga) -> SagaBulk:
    """Add a worker and a bulk with hostile names, and return the bulk."""
    now = clock.read_now(get_settings().database)
    SagaWorker.objects.create(
        name=HOSTILE[:60],
        host="h",
        pid=1,
        version=HOSTILE[:20],
        started_at=now,
        last_sweep_at=now,
        queues=[HOSTILE[:30]],
    )
    return SagaBulk.objects.create(
        operation="pause", state="finished", actor=HOSTILE[:60], account="", filter={"search": HOSTILE}, words=HOSTILE,
        total=0, frozen_at=saga.created_at, reason=HOSTILE, is_trusted=True,
    )  # fmt: skip


def assert_harmless(text: str) -> None:
    """Check that every line of a text holds visible characters only."""
    assert all(line.isprintable() and "\u3164" not in line for line in text.split("\n")), ascii(text)
    assert "\nSaga forged" not in text


@pytest.mark.parametrize("form", [(), ("--json",), ("--wide",)])
def test_read_only_commands_print_nothing_invisible(form: tuple[str, ...]) -> None:
    saga = make_hostile()
    bulk = make_hostile_surroundings(saga)
    calls: list[tuple[Any, ...]] = [
        ("saga_list",), ("saga_list", "--attention"), ("saga_show", saga.pk), ("saga_bulk_show",),
        ("saga_bulk_show", bulk.pk), ("saga_check_versions",), ("saga_verify_log",), ("saga_doctor",),
        ("saga_pause", saga.pk, *WHY, "--dry-run"), ("saga_abandon", saga.pk, *WHY, "--dry-run"),
    ]  # fmt: skip
    for call in calls:
        if form == ("--wide",) and call[0] in ("saga_show", "saga_doctor", "saga_pause", "saga_abandon"):
            continue
        done = run_command(*call, *form)
        assert_harmless(done.out)
        assert_harmless(done.err)
        assert "Traceback" not in done.err
        if form == ("--json",):
            assert done.out.isascii()
            json.loads(done.out)


def test_transcript_shows_hidden_characters_as_escapes() -> None:
    saga = make_hostile()

    out = run_command("saga_show", saga.pk).out

    assert f"because: {SHOWN} at {SHOWN}: {SHOWN}" in out
    assert f"by {SHOWN}: {FIRST_LINE}\n" in out
    assert sum(line.startswith("Saga ") for line in out.splitlines()) == 1


def test_json_holds_the_original_texts() -> None:
    saga = make_hostile()

    document = json.loads(run_command("saga_show", saga.pk, "--json").out)
    [row] = run_command("saga_list", "--json").json
    [line] = run_command("saga_export", "--format", "ndjson", "--payloads").out.splitlines()

    assert document["history"][-1]["reason"] == HOSTILE
    assert row["keys"] == {"trip": HOSTILE[:60]}
    assert json.loads(line)["steps"][3]["result"] == {"answer": HOSTILE}
    assert line.isascii()


def test_hostile_saga_is_one_line_of_a_table_and_of_an_export() -> None:
    saga = make_hostile()

    listed = run_command("saga_list").out.splitlines()
    exported = run_command("saga_export", "--payloads").out

    assert [line.split()[0] for line in listed] == ["ID", str(saga.pk)]
    assert exported.count("\r\n") == 2
    assert_harmless(exported.replace("\r\n", "\n"))


@pytest.mark.parametrize(
    "call",
    [
        ("saga_show", HOSTILE.replace("\n", "")), ("saga_list", HOSTILE), ("saga_list", f"--{HOSTILE}"),
        ("saga_list", "--state", HOSTILE), ("saga_list", "--definition", HOSTILE), ("saga_pause", HOSTILE, *WHY),
        ("saga_pause", "0198f3a2-5c1e", *WHY, "--user", "\u202e\u3164"), ("saga_graph", HOSTILE),
        ("saga_explore", HOSTILE), ("saga_sweep", "--queue", HOSTILE), ("saga_cleanup", "--older-than", HOSTILE),
        ("saga_bulk", "pause", "--step", "\u202e\u3164", *WHY), ("saga_bulk", HOSTILE),
        ("saga_show", "\u202e\u3164"), ("saga_skip", "0198f3a2-5c1e", *WHY, "--step", HOSTILE),
        ("saga_cleanup", "--older-than", "30d", "--archive", "\u202e\u3164/x.ndjson"),
        ("payment_look_up", "\u202e\u3164"), ("sandbox_clear", "\u202e\u3164"),
    ],
    ids=ascii,
)  # fmt: skip
def test_invalid_arguments_are_repeated_harmlessly(call: tuple[str, ...]) -> None:
    done = run_command(*call)

    assert done.code in (1, 2)
    assert done.err.strip()
    assert_harmless(done.err)
    assert_harmless(done.out)


@pytest.mark.parametrize(
    "reason", ["\u200b" * 20, "\u3164" * 20, "\u202e         .\u202c", "\u2800" * 12 + "x", "\x1b[2J \x1b[2J!"]
)
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_reason_must_have_visible_characters(reason: str, dry_run: tuple[str, ...]) -> None:
    saga = start_trip()

    done = run_command("saga_pause", saga.pk, "--reason", reason, *dry_run)

    assert (done.code, done.out) == (2, "")
    assert Saga.objects.get().hold is None


def test_every_command_escapes_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    for name, app in [*((name, "sagas") for name in COMMANDS), *OTHER_COMMANDS.items()]:
        command: BaseCommand = load_command_class(app, name)
        assert isinstance(command, SagaCommand), name
        command.stdout.write(HOSTILE)
        command.stderr.write(HOSTILE)
        out, err = capsys.readouterr()
        assert (out, err) == (f"{SHOWN}\n", f"{SHOWN}\n"), name


def test_no_command_writes_to_standard_output_directly() -> None:
    for path in Path().glob("*/management/**/*.py"):
        if path.name != "output.py":
            assert not re.search(r"\bprint\(|sys\.std(out|err)", path.read_text()), path


def test_thousand_unknown_versions_are_reported_in_a_few_lines() -> None:
    now = timezone.now()
    Saga.objects.bulk_create(
        Saga(definition=f"lost-{number}", version=1, digest="x", created_at=now, updated_at=now, input={})
        for number in range(1_000)
    )

    doctor, versions = run_command("saga_doctor"), run_command("saga_check_versions")

    assert sum(line.startswith("fail  version ") for line in doctor.out.splitlines()) == 20
    assert "980 more that the code does not have" in doctor.out
    assert len(versions.out.splitlines()) == 1_001
    assert "990 more are listed above." in versions.err
    assert len(versions.err) < 2_000


def test_long_histories_are_truncated_unless_all_is_requested() -> None:
    saga = unknown_trip()
    count = saga.history_count
    SagaHistory.objects.bulk_create(
        SagaHistory(saga=saga, number=count + number, at=saga.created_at, what="step_note", reason="x" * 600)
        for number in range(1, 10_001)
    )
    step = saga.steps.get(name="pay")
    SagaAttempt.objects.bulk_create(
        SagaAttempt(
            saga_id=saga.pk, step=step, direction="action", number=number, outcome="retry", message="y" * 600,
            lease_token=uuid4(), deadline_at=saga.created_at,
            started_at=saga.created_at, ended_at=saga.created_at + timedelta(seconds=1),
        )
        for number in range(2, 302)
    )  # fmt: skip

    short = run_command("saga_show", saga.pk).out
    whole = run_command("saga_show", saga.pk, "--all").out

    assert len(short) < 300_000
    assert max(map(len, short.splitlines())) < 700
    assert f"  ({count + 10_000 - 200} earlier entries are not shown)\n" in short
    assert "(only the newest 200 attempts are shown)" in short
    assert f" {count + 10_000} " in short
    assert len(whole.splitlines()) > 10_600
