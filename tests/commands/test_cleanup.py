"""Command ``saga_cleanup``; tests/engine/test_retention.py proves what it deletes and keeps."""

import gzip
import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from sagas import clock
from sagas.conf import get_settings
from sagas.models import Saga, SagaAccess, SagaBarrier, SagaView
from sagas.operators.audit import access_log
from sagas.retention import purge
from sagas.retention.purge import Report

from .cases import WHY, close_at, compensated_trip, completed_trip, run_command, start_trip, unknown_trip

pytestmark = pytest.mark.django_db(databases="__all__")


def ago(**span: int) -> Any:
    return clock.read_now(get_settings().database) - timedelta(**span)


@pytest.mark.parametrize(
    ("age", "span"),
    [
        ("90m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_only_sagas_closed_long_enough_ago_are_deleted(age: str, span: timedelta) -> None:
    older = close_at(completed_trip("A"), ago() - span - timedelta(seconds=1))
    younger = close_at(completed_trip("B"), ago() - span + timedelta(seconds=30))
    opened = start_trip("C")

    done = run_command("saga_cleanup", "--older-than", age)

    assert (done.code, done.err) == (0, "")
    assert done.out == "Deleted 1 sagas and 0 barrier rows.\n"
    assert set(Saga.objects.values_list("pk", flat=True)) == {younger.pk, opened.pk}
    assert older.pk not in Saga.objects.values_list("pk", flat=True)


def test_dry_run_counts_and_deletes_nothing(tmp_path: Path) -> None:
    close_at(completed_trip(), ago(days=31))

    done = run_command("saga_cleanup", "--older-than", "30d", "--dry-run", "--archive", tmp_path / "a.ndjson")

    assert (done.code, done.out) == (0, "Would delete 1 sagas and 0 barrier rows.\n")
    assert Saga.objects.count() == 1
    assert list(tmp_path.iterdir()) == []


def test_dry_run_mentions_barrier_rows_of_open_sagas() -> None:
    long_ago = ago(days=1000)
    SagaBarrier.objects.create(
        key=f"{start_trip().pk}:pay", direction="action", state="done", created_at=long_ago, finished_at=long_ago
    )

    trial = run_command("saga_cleanup", "--older-than", "30d", "--dry-run")
    done = run_command("saga_cleanup", "--older-than", "30d")

    assert trial.out == "Would delete 0 sagas and at most 1 barrier rows.\n"
    assert done.out == "Deleted 0 sagas and 0 barrier rows.\n"


def test_expired_access_records_are_counted_and_deleted(settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "ACCESS_RETENTION": timedelta(days=1)}
    for days in (0, 2, 3):
        SagaAccess.objects.create(at=timezone.now() - timedelta(days=days), actor="ada", what="page")

    trial = run_command("saga_cleanup", "--older-than", "30d", "--dry-run")
    assert access_log.delete_expired_accesses(should_stop=lambda: True) == 0
    done = run_command("saga_cleanup", "--older-than", "30d")

    assert trial.out == "Would delete 0 sagas, 2 access records and 0 barrier rows.\n"
    assert done.out == "Deleted 0 sagas, 2 access records and 0 barrier rows.\n"
    assert SagaAccess.objects.count() == 1


def test_own_views_of_deleted_accounts_are_counted_and_deleted() -> None:
    for is_shared in (False, True):
        SagaView.objects.create(
            owner="ada", owner_id="999", name=f"{is_shared}", query="closed=no", is_shared=is_shared,
            created_at=timezone.now(),
        )  # fmt: skip

    trial = run_command("saga_cleanup", "--older-than", "30d", "--dry-run")
    assert SagaView.objects.count() == 2
    done = run_command("saga_cleanup", "--older-than", "30d")

    assert trial.out == "Would delete 0 sagas, 1 saved views and 0 barrier rows.\n"
    assert done.out == "Deleted 0 sagas, 1 saved views and 0 barrier rows.\n"
    assert list(SagaView.objects.values_list("is_shared", flat=True)) == [True]


def test_cleanup_prints_json() -> None:
    close_at(completed_trip(), ago(days=31))

    done = run_command("saga_cleanup", "--older-than", "30d", "--json", "--no-input")

    assert done.json == {
        "sagas": 1,
        "barriers": 0,
        "bulks": 0,
        "looks": 0,
        "views": 0,
        "outbox": 0,
        "inbox": 0,
        "event_rows": 0,
        "failed": [],
        "unreachable": [],
        "is_stopped": False,
        "dry_run": False,
    }


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), {"abandoned"}),
        (("--include-abandoned",), set()),
        (("--state", "completed"), {"compensated", "abandoned"}),
        (("--state", "compensated", "--state", "completed"), {"abandoned"}),
        (("--state", "abandoned", "--include-abandoned"), {"completed", "compensated"}),
    ],
)
def test_state_options_limit_the_deletion(options: tuple[str, ...], left: set[str]) -> None:
    abandoned = unknown_trip("C")
    run_command("saga_abandon", abandoned.pk, *WHY)
    for saga in (completed_trip("A"), compensated_trip("B"), abandoned):
        close_at(saga, ago(days=31))

    assert run_command("saga_cleanup", "--older-than", "30d", *options).code == 0

    assert set(Saga.objects.values_list("state", flat=True)) == left


def test_deleted_sagas_are_archived(tmp_path: Path) -> None:
    sagas = [close_at(completed_trip(str(number)), ago(days=31)) for number in range(3)]
    path = tmp_path / "sagas.ndjson.gz"

    done = run_command("saga_cleanup", "--older-than", "30d", "--archive", path, "--batch-size", "1")

    assert done.code == 0
    documents = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    assert {document["id"] for document in documents} == {str(saga.pk) for saga in sagas}
    assert Saga.objects.count() == 0


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_existing_archive_is_refused_before_anything_is_deleted(dry_run: tuple[str, ...], tmp_path: Path) -> None:
    close_at(completed_trip(), ago(days=31))
    path = tmp_path / "sagas.ndjson"
    path.write_text("precious")

    done = run_command("saga_cleanup", "--older-than", "30d", "--archive", path, *dry_run)

    assert done.code == 1
    assert f"{path} already exists" in done.err
    assert path.read_text() == "precious"
    assert Saga.objects.count() == 1


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("missing/sagas.ndjson", "cannot be written: No such file or directory."),
        ("file/sagas.ndjson", "cannot be written: Not a directory."),
        ("x" * 300 + ".ndjson", "cannot be written: File name too long."),
        ("directory.ndjson", "already exists"),
        ("pipe.ndjson", "already exists"),
        ("dangling.ndjson", "already exists"),
        ("full.ndjson", "already exists"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["real", "dry"])
def test_archive_that_cannot_be_created_exits_with_1_and_deletes_nothing(
    place: str, text: str, dry_run: tuple[str, ...], tmp_path: Path
) -> None:
    close_at(completed_trip(), ago(days=31))
    (tmp_path / "file").touch()
    (tmp_path / "directory.ndjson").mkdir()
    os.mkfifo(tmp_path / "pipe.ndjson")
    (tmp_path / "dangling.ndjson").symlink_to(tmp_path / "nowhere")
    (tmp_path / "full.ndjson").symlink_to("/dev/full")
    before = sorted(tmp_path.iterdir())

    done = run_command("saga_cleanup", "--older-than", "30d", "--archive", tmp_path / place, *dry_run)

    assert (done.code, done.out) == (1, "")
    assert text in done.err
    assert "Traceback" not in done.err
    assert sorted(tmp_path.iterdir()) == before
    assert Saga.objects.count() == 1


def test_dry_run_leaves_no_archive(tmp_path: Path) -> None:
    close_at(completed_trip(), ago(days=31))
    path = tmp_path / "sagas.ndjson.gz"

    done = run_command("saga_cleanup", "--older-than", "30d", "--archive", path, "--dry-run")

    assert (done.code, done.out) == (0, "Would delete 1 sagas and 0 barrier rows.\n")
    assert not path.exists()


def test_full_disk_exits_with_1_and_keeps_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_at(completed_trip(), ago(days=31))

    def fill_up(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)

    done = run_command("saga_cleanup", "--older-than", "30d", "--archive", tmp_path / "a.ndjson")

    assert done.code == 1
    assert "No space left on device" in done.err
    assert "Sagas that are not in it are not deleted." in done.err
    assert Saga.objects.count() == 1


def test_undeletable_saga_exits_with_1_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = start_trip()
    monkeypatch.setattr(
        purge, "clean_up", lambda *_args, **_named: Report(sagas=4, failed=[saga.pk], unreachable=["payments"])
    )

    done = run_command("saga_cleanup", "--older-than", "30d", "--json")

    assert done.code == 1
    assert done.json["failed"] == [str(saga.pk)]
    assert f"could not be deleted (the log says why): {saga.pk}." in done.err
    assert "Barrier rows or events of these databases could not be cleaned up: payments." in done.err


def test_database_error_exits_with_1_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_named: object) -> Report:
        raise OperationalError("terminating connection due to administrator command")

    monkeypatch.setattr(purge, "clean_up", fail)

    done = run_command("saga_cleanup", "--older-than", "30d")

    assert done.code == 1
    assert "The database failed: terminating connection" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_after_the_current_batch(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(3):
        close_at(completed_trip(str(name)), ago(days=31))
    before = signal.getsignal(number)
    delete: Callable[..., int] = purge._delete_batch

    def delete_and_be_asked_to_stop(*arguments: Any) -> int:
        deleted = delete(*arguments)
        signal.raise_signal(number)
        return deleted

    monkeypatch.setattr(purge, "_delete_batch", delete_and_be_asked_to_stop)

    done = run_command("saga_cleanup", "--older-than", "30d", "--batch-size", "1")

    assert done.code == 0
    assert done.out == "Deleted 1 sagas and 0 barrier rows. Stopped on request; the next run deletes the rest.\n"
    assert Saga.objects.count() == 2
    assert signal.getsignal(number) is before


def test_long_run_reports_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(2):
        close_at(completed_trip(str(name)), ago(days=31))
    moments = iter([0.0, 1.0, 3.0, 3.0, 9.0, 9.0])
    monkeypatch.setattr("sagas.management.commands.saga_cleanup.time.monotonic", lambda: next(moments))

    done = run_command("saga_cleanup", "--older-than", "30d", "--batch-size", "1")

    assert done.err == "2 sagas and 0 barrier rows deleted so far.\n"
    assert done.out == "Deleted 2 sagas and 0 barrier rows.\n"
