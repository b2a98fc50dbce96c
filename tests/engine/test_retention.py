"""Retention: what it deletes, what it keeps, and which failures it survives."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, router, transaction

from sagas import clock
from sagas.conf import get_settings
from sagas.core.states import CLOSED_STATES, OPEN_STATES, Direction, SagaState
from sagas.exceptions import Fenced
from sagas.models import Saga, SagaAttempt, SagaBarrier, SagaHistory, SagaKey, SagaStep
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.participants import barrier
from sagas.participants.routing import barrier_databases
from sagas.retention import purge
from sagas.retention.archive import Archive
from sagas.retention.purge import Report, Scope, clean_up, count_expired
from sagas.testing import SimulatedCrash
from tests.commands.cases import close_at, compensated_trip, completed_trip, read, start_trip, trips, unknown_trip
from tests.participants.side_by_side import run_side_by_side

pytestmark = pytest.mark.django_db(databases="__all__")

TICK = timedelta(microseconds=1)
ALL_CLOSED = frozenset(CLOSED_STATES)


@pytest.fixture(autouse=True)
def _trips() -> Iterator[None]:
    with trips():
        yield


@pytest.fixture
def limit() -> datetime:
    """Return a date in the past."""
    return a_month_ago()


def a_month_ago() -> datetime:
    return clock.read_now(get_settings().database) - timedelta(days=30)


def abandon(saga: Saga) -> Saga:
    operations.abandon(saga.pk, actor=Actor.of_command_line(), reason="because the test says so")
    return read(saga)


def ids() -> set[UUID]:
    return set(Saga.objects.values_list("pk", flat=True))


class TestSagas:
    def test_only_sagas_closed_before_the_limit_are_deleted(self, limit: datetime) -> None:
        older = close_at(completed_trip("A"), limit - TICK)
        at_limit = close_at(completed_trip("B"), limit)
        younger = close_at(completed_trip("C"), limit + TICK)

        report = clean_up(Scope(closed_before=limit))

        assert (report.sagas, report.failed, report.is_stopped) == (1, [], False)
        assert ids() == {at_limit.pk, younger.pk}
        assert older.pk not in ids()

    def test_all_rows_of_a_saga_are_deleted_and_none_of_another(self, limit: datetime) -> None:
        gone, kept = close_at(compensated_trip("A"), limit - TICK), compensated_trip("B")
        tables = (SagaStep, SagaAttempt, SagaHistory, SagaKey)
        before = {model: model.objects.filter(saga=kept).count() for model in tables}

        clean_up(Scope(closed_before=limit))

        assert {model: model.objects.filter(saga=gone.pk).count() for model in tables} == dict.fromkeys(tables, 0)
        assert {model: model.objects.filter(saga=kept).count() for model in tables} == before
        assert before[SagaHistory] == kept.history_count

    def test_open_saga_is_kept_however_old(self, limit: datetime) -> None:
        opened = [start_trip("A"), unknown_trip("B")]
        Saga.objects.update(created_at=limit - timedelta(days=300), updated_at=limit - timedelta(days=300))

        report = clean_up(Scope(closed_before=limit, states=ALL_CLOSED))

        assert report.sagas == 0
        assert ids() == {saga.pk for saga in opened}

    @pytest.mark.parametrize("states", [OPEN_STATES, {SagaState.RUNNING, SagaState.COMPLETED}, set()])
    def test_open_states_are_refused(self, states: set[SagaState], limit: datetime) -> None:
        with pytest.raises(ValueError, match="Only closed sagas"):
            Scope(closed_before=limit, states=frozenset(states))

    def test_abandoned_sagas_are_deleted_only_on_request(self, limit: datetime) -> None:
        abandoned = close_at(abandon(unknown_trip("A")), limit - TICK)
        close_at(completed_trip("B"), limit - TICK)

        assert clean_up(Scope(closed_before=limit)).sagas == 1
        assert ids() == {abandoned.pk}
        assert clean_up(Scope(closed_before=limit, states=ALL_CLOSED)).sagas == 1
        assert ids() == set()

    def test_states_filter(self, limit: datetime) -> None:
        completed, compensated = completed_trip("A"), compensated_trip("B")
        for saga in (completed, compensated):
            close_at(saga, limit - TICK)

        clean_up(Scope(closed_before=limit, states=frozenset({SagaState.COMPENSATED})))

        assert ids() == {completed.pk}

    def test_batches_run_oldest_first(self, limit: datetime) -> None:
        sagas = [close_at(completed_trip(str(n)), limit - timedelta(hours=n + 1)) for n in range(5)]
        seen: list[tuple[int, int]] = []

        report = clean_up(
            Scope(closed_before=limit),
            batch_size=2,
            progress=lambda report: seen.append((report.sagas, len(ids() & {sagas[-1].pk}))),
        )

        assert report.sagas == 5
        assert seen == [(2, 0), (4, 0), (5, 0)]

    def test_sagas_closed_at_the_same_time_are_not_skipped(self, limit: datetime) -> None:
        for number in range(5):
            close_at(completed_trip(str(number)), limit - TICK)

        assert clean_up(Scope(closed_before=limit), batch_size=2).sagas == 5

    def test_cleanup_stops_between_batches_when_asked(self, limit: datetime) -> None:
        for number in range(3):
            close_at(completed_trip(str(number)), limit - TICK)
        asked: list[Report] = []

        report = clean_up(
            Scope(closed_before=limit), batch_size=1, should_stop=lambda: bool(asked), progress=asked.append
        )

        assert (report.sagas, report.is_stopped) == (1, True)
        assert len(ids()) == 2

    @pytest.mark.parametrize("size", [0, -1, 1001])
    def test_batch_size_is_limited(self, size: int, limit: datetime) -> None:
        with pytest.raises(ValueError, match="1 to 1000"):
            clean_up(Scope(closed_before=limit), batch_size=size)

    def test_counting_deletes_nothing(self, limit: datetime) -> None:
        close_at(completed_trip("A"), limit - TICK)
        close_at(completed_trip("B"), limit + TICK)

        assert count_expired(Scope(closed_before=limit)).sagas == 1
        assert len(ids()) == 2

    def test_history_is_protected_again_after_the_cleanup(self, limit: datetime) -> None:
        kept = completed_trip("A")
        close_at(completed_trip("B"), limit - TICK)
        refused: list[int] = []

        def try_to_delete() -> None:
            with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
                SagaHistory.objects.filter(saga=kept).delete()
            refused.append(1)

        # Old access records are deleted last with the same permission, and would close what a batch left open.
        clean_up(Scope(closed_before=limit), progress=lambda _report: try_to_delete())
        try_to_delete()

        assert len(refused) == 2
        assert SagaHistory.objects.filter(saga=kept).count() == kept.history_count


@contextmanager
def foreign_references() -> Iterator[None]:
    """Create a foreign table with references to sagas."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE somebody_else (saga_id uuid REFERENCES sagas_saga (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("DROP TABLE somebody_else")


class TestPoison:
    @pytest.fixture(autouse=True)
    def _foreign_references(self) -> Iterator[None]:
        with foreign_references():
            yield

    def add_reference(self, saga: Saga) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO somebody_else VALUES (%s)", [saga.pk])

    @pytest.mark.parametrize("batch_size", [1, 3, 500])
    def test_undeletable_row_does_not_stop_the_rest(self, batch_size: int, limit: datetime) -> None:
        sagas = [close_at(completed_trip(str(n)), limit - timedelta(hours=9 - n)) for n in range(6)]
        self.add_reference(sagas[0])
        self.add_reference(sagas[3])

        report = clean_up(Scope(closed_before=limit), batch_size=batch_size)

        assert report.sagas == 4
        assert report.failed == [sagas[0].pk, sagas[3].pk]
        assert not report.is_whole
        assert ids() == {sagas[0].pk, sagas[3].pk}
        assert SagaHistory.objects.filter(saga=sagas[0]).count() == sagas[0].history_count

    def test_kept_sagas_are_not_archived(self, limit: datetime, tmp_path: Path) -> None:
        sagas = [close_at(completed_trip(str(n)), limit - timedelta(hours=9 - n)) for n in range(3)]
        self.add_reference(sagas[1])
        path = tmp_path / "sagas.ndjson"

        with Archive(path) as archive:
            clean_up(Scope(closed_before=limit), archive=archive)

        kept = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert sorted(kept) == sorted([str(sagas[0].pk), str(sagas[2].pk)])


class TestArchive:
    @pytest.mark.parametrize("name", ["sagas.ndjson", "sagas.ndjson.gz"])
    def test_each_saga_is_one_line_with_all_its_rows(self, name: str, limit: datetime, tmp_path: Path) -> None:
        sagas = [close_at(compensated_trip(str(n)), limit - TICK) for n in range(3)]
        path = tmp_path / name

        with Archive(path) as archive:
            clean_up(Scope(closed_before=limit), batch_size=2, archive=archive)

        data = path.read_bytes()
        lines = (gzip.decompress(data) if name.endswith("gz") else data).decode().splitlines()
        documents = {document["id"]: document for document in map(json.loads, lines)}
        assert documents.keys() == {str(saga.pk) for saga in sagas}
        assert not any("\r" in line for line in lines)
        document = documents[str(sagas[0].pk)]
        assert document["keys"] == {"trip": "0"}
        assert document["cause"]["message"] == "full"
        assert len(document["history"]) == sagas[0].history_count
        assert [len(step["attempts"]) for step in document["steps"]] == [2, 1, 0, 0, 0]
        assert datetime.fromisoformat(document["closed_at"]) == limit - TICK
        assert path.stat().st_mode & 0o777 == 0o600

    def test_archive_is_on_disk_before_rows_are_deleted(
        self, limit: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saga = close_at(completed_trip(), limit - TICK)
        path = tmp_path / "sagas.ndjson"
        seen: list[tuple[int, bool]] = []
        fsync = os.fsync

        def look(descriptor: int) -> None:
            fsync(descriptor)
            # Another connection sees what a crash would leave: the row, until the commit.
            seen.append((len(path.read_text().splitlines()), connection.in_atomic_block))

        monkeypatch.setattr(os, "fsync", look)
        with Archive(path) as archive:
            clean_up(Scope(closed_before=limit), archive=archive)

        assert seen[0] == (1, True)
        assert saga.pk not in ids()

    def test_crash_between_archive_and_commit_leaves_the_saga_in_both(
        self, limit: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saga = close_at(completed_trip(), limit - TICK)
        append = Archive.append

        def append_and_die(archive: Archive, documents: list[str]) -> None:
            append(archive, documents)
            raise SimulatedCrash

        monkeypatch.setattr(Archive, "append", append_and_die)
        with pytest.raises(SimulatedCrash), Archive(tmp_path / "first.ndjson") as archive:
            clean_up(Scope(closed_before=limit), archive=archive)
        monkeypatch.undo()

        assert ids() == {saga.pk}
        assert SagaHistory.objects.filter(saga=saga).count() == saga.history_count
        with Archive(tmp_path / "second.ndjson") as archive:
            assert clean_up(Scope(closed_before=limit), archive=archive).sagas == 1
        for name in ("first.ndjson", "second.ndjson"):
            assert json.loads((tmp_path / name).read_text())["id"] == str(saga.pk)

    def test_existing_file_is_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "sagas.ndjson"
        path.write_text("precious")

        with pytest.raises(FileExistsError):
            Archive(path)

        assert path.read_text() == "precious"

    def test_full_disk_loses_no_saga_and_leaves_no_partial_line(
        self, limit: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sagas = [close_at(completed_trip(str(n)), limit - timedelta(hours=9 - n)) for n in range(2)]
        path = tmp_path / "sagas.ndjson"
        fsync, calls = os.fsync, []

        def fill_up(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) == 3:  # the first batch, its directory, the second batch
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fill_up)
        with pytest.raises(OSError, match="No space left"), Archive(path) as archive:
            clean_up(Scope(closed_before=limit), batch_size=1, archive=archive)

        assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [str(sagas[0].pk)]
        assert ids() == {sagas[1].pk}

    def test_empty_archive_leaves_no_file(self, limit: datetime, tmp_path: Path) -> None:
        with Archive(tmp_path / "sagas.ndjson.gz") as archive:
            clean_up(Scope(closed_before=limit), archive=archive)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["sagas.json", "sagas.gz", ".ndjson", "sagas.ndjson.bz2", "ndjson"])
    def test_archive_name_describes_its_content(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="An archive's name must end in"):
            Archive(tmp_path / name)

        assert list(tmp_path.iterdir()) == []


class TestBarriers:
    def put(self, alias: str, saga_id: object, age: timedelta, *, direction: str = "action") -> int:
        now = clock.read_now(alias)
        row = SagaBarrier.objects.using(alias).create(
            key=f"{saga_id}:reserve", direction=direction, state="done", created_at=now - age, finished_at=now - age
        )
        return row.pk

    def test_old_barrier_rows_are_deleted_in_every_database(self, limit: datetime) -> None:
        retained = get_settings().barrier_retention
        kept = {}
        for alias in barrier_databases():
            self.put(alias, uuid4(), retained + timedelta(minutes=1))
            kept[alias] = self.put(alias, uuid4(), retained - timedelta(minutes=1))

        report = clean_up(Scope(closed_before=limit), batch_size=1)

        assert report.barriers == len(kept)
        for alias, pk in kept.items():
            assert list(SagaBarrier.objects.using(alias).values_list("pk", flat=True)) == [pk]

    def test_rows_of_a_key_are_deleted_together_once_the_youngest_is_old(self, limit: datetime) -> None:
        alias = barrier_databases()[-1]
        retained = get_settings().barrier_retention
        young, old = uuid4(), uuid4()
        kept = {
            self.put(alias, young, retained * 3),
            self.put(alias, young, retained - timedelta(minutes=1), direction="compensation"),
        }
        self.put(alias, old, retained * 3)
        self.put(alias, old, retained + timedelta(minutes=1), direction="compensation")

        assert count_expired(Scope(closed_before=limit)).barriers == 2
        report = clean_up(Scope(closed_before=limit), batch_size=1)

        assert report.barriers == 2
        assert set(SagaBarrier.objects.using(alias).values_list("pk", flat=True)) == kept

    def test_late_action_is_fenced_although_its_own_row_is_deleted(self) -> None:
        alias = barrier_databases()[-1]
        with transaction.atomic(using=alias):
            self.put(alias, "k", timedelta(), direction="compensation")
            with pytest.raises(Fenced):
                barrier.enter(alias, "k:reserve", Direction.ACTION, 0)
            transaction.set_rollback(True, using=alias)

    def test_saga_that_may_still_run_keeps_its_barrier_rows(self, limit: datetime) -> None:
        alias = barrier_databases()[-1]
        retained = get_settings().barrier_retention
        now = clock.read_now(get_settings().database)
        opened, lately, long_ago = unknown_trip("A"), completed_trip("B"), completed_trip("C")
        close_at(lately, now - retained + timedelta(minutes=1))
        close_at(long_ago, now - retained - timedelta(minutes=1))
        rows = {saga: self.put(alias, saga.pk, retained * 2) for saga in (opened, lately, long_ago)}
        strange = self.put(alias, "no-saga", retained * 2)

        # Only barrier rows are deleted here; sagas themselves stay.
        clean_up(Scope(closed_before=limit - timedelta(days=3650)), batch_size=1)

        left = set(SagaBarrier.objects.using(alias).values_list("pk", flat=True))
        assert left == {rows[opened], rows[lately]}
        assert strange not in left

    def test_unreachable_database_does_not_block_the_others(
        self, limit: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saga = close_at(completed_trip(), limit - TICK)
        select = purge._select_old_barriers

        def fail(alias: str) -> object:
            if alias == "away":
                raise OperationalError("no route to host")
            return select(alias)

        monkeypatch.setattr(purge, "_select_old_barriers", fail)
        monkeypatch.setattr(purge, "barrier_databases", lambda: ["away", "default"])
        self.put("default", uuid4(), get_settings().barrier_retention * 2)

        report = clean_up(Scope(closed_before=limit))

        assert (report.sagas, report.barriers, report.unreachable) == (1, 1, ["away"])
        assert not report.is_whole
        assert saga.pk not in ids()
        assert count_expired(Scope(closed_before=limit)).unreachable == ["away"]

    def test_barrier_databases_come_from_the_routers(self) -> None:
        expected = {alias for alias in connections if router.allow_migrate_model(alias, SagaBarrier)}

        assert set(barrier_databases()) == expected
        assert barrier_databases()[0] == get_settings().database


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestConcurrency:
    def test_concurrent_cleanups_delete_each_saga_once(self, limit: datetime) -> None:
        for number in range(30):
            close_at(completed_trip(str(number)), limit - timedelta(minutes=number + 1))
        kept = completed_trip("kept")

        reports = run_side_by_side([lambda: clean_up(Scope(closed_before=limit), batch_size=3)] * 2)

        assert sum(report.sagas for report in reports) == 30
        assert [report.failed for report in reports] == [[], []]
        assert ids() == {kept.pk}

    def test_locked_saga_is_skipped(self, limit: datetime) -> None:
        held, free = (close_at(completed_trip(number), limit - TICK) for number in ("A", "B"))

        with transaction.atomic():
            Saga.objects.select_for_update().get(pk=held.pk)
            [report] = run_side_by_side([lambda: clean_up(Scope(closed_before=limit))])

        assert (report.sagas, report.failed) == (1, [])
        assert ids() == {held.pk}
        assert free.pk not in ids()

    def test_saga_that_reopens_meanwhile_is_kept(self, limit: datetime) -> None:
        saga = close_at(compensated_trip(), limit - TICK)
        scope = Scope(closed_before=limit)
        page = purge._page(purge._select_expired(scope), "closed_at", None, 10)
        Saga.objects.filter(pk=saga.pk).update(state="compensating", closed_at=None)

        assert [pk for _, pk in page] == [saga.pk]
        assert purge._delete_batch([saga.pk], scope, None) == 0
        assert ids() == {saga.pk}
        Saga.objects.filter(pk=saga.pk).update(state="compensated", closed_at=limit)


def test_line_breaks_and_unusual_characters_stay_one_line_of_json(limit: datetime, tmp_path: Path) -> None:
    saga = close_at(completed_trip(), limit - TICK)
    text = 'first\nsecond\r\n\u2028third\t"quoted" \\n ☕ \x7f'
    SagaAttempt.objects.filter(saga=saga).update(message=text)
    path = tmp_path / "sagas.ndjson"

    with Archive(path) as archive:
        clean_up(Scope(closed_before=limit), archive=archive)

    [line] = path.read_bytes().decode().removesuffix("\n").split("\n")
    assert {attempt["message"] for step in json.loads(line)["steps"] for attempt in step["attempts"]} == {text}
