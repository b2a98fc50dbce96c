"""Paths of periodic work: sweeps, heartbeats and both cleanups."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Any
from uuid import UUID, uuid4

from django.core.management import call_command
from django.db import connections

from sagas.conf import get_settings
from sagas.participants.routing import barrier_databases
from sagas.testing.drain import pass_time
from sagas.worker import sweeper

from . import points
from .enumeration import Path
from .shop import COMPLETED, Shopper, advance, fetch, find_problems, finish, make_shopper

# Longer than a lease and than the wake-up interval.
LONG_ENOUGH = timedelta(seconds=31)
MAX_SWEEPS = 20
ATTEMPTS_BEFORE_LAST_STEP = 5
# Longer than closed sagas and barrier rows are kept.
UNTIL_CLEANUP = timedelta(days=91)
PARTS = ("sagas_sagastep", "sagas_sagaattempt", "sagas_sagahistory", "sagas_sagakey")

Pair = tuple[Shopper, Shopper]


def prepare_pair() -> Pair:
    """Create two due sagas without a wake-up, each one step before its end."""
    pair = (make_shopper().place(), make_shopper().place())
    for shopper in pair:
        advance(shopper.saga_id, attempts=ATTEMPTS_BEFORE_LAST_STEP)
    points.woken.clear()
    return pair


def sweep_until_closed(pair: Pair) -> None:
    """Sweep repeatedly, as another process would; only the sweeps find the sagas."""
    ids = [shopper.saga_id for shopper in pair]
    for _ in range(MAX_SWEEPS):
        sweeper.run_due(worker="recovery")
        statement = "SELECT 1 FROM sagas_saga WHERE id = ANY(%s) AND closed_at IS NULL"
        if not fetch("default", statement, ids):
            return
        pass_time(LONG_ENOUGH)
    raise AssertionError("The sweep does not bring every saga to its end.")


def wake_and_finish(pair: Pair) -> None:
    """Let the wake-up interval pass, check that each of the two is woken, and advance them."""
    points.woken.clear()
    pass_time(get_settings().wakeup_interval)
    sweeper.wake_due()
    missed = [shopper.name for shopper in pair if shopper.saga_id not in points.woken]
    assert not missed, f"nobody was woken {missed} again"
    for shopper in pair:
        finish(shopper.saga_id)


def judge_pair(pair: Pair) -> list[str]:
    """Check both orders."""
    return [problem for shopper in pair for problem in find_problems(shopper, COMPLETED)]


RUN_DUE: Path[Pair] = Path(
    name="sweep that runs", prepare=prepare_pair, run=lambda _pair: sweeper.run_due(worker="sweep"),
    recover=sweep_until_closed, judge=judge_pair, least=25,
)  # fmt: skip
WAKEUP_DUE: Path[Pair] = Path(
    name="sweep that wakes", prepare=prepare_pair, run=lambda _pair: sweeper.wake_due(), recover=wake_and_finish,
    judge=judge_pair, least=7,
)  # fmt: skip


def beat_a_day_later(_nothing: None) -> None:
    """Write the heartbeat of another process when this one is long dead."""
    pass_time(sweeper.FORGET_WORKERS_AFTER + timedelta(seconds=1))
    sweeper.beat(queues=["sagas"], found=2)


def judge_heartbeats(_nothing: None) -> list[str]:
    """Check that only the living process is listed, with its latest heartbeat."""
    rows = fetch("default", "SELECT name, last_found FROM sagas_sagaworker")
    return [] if rows == [(sweeper.worker_name(), 2)] else [f"heartbeats are {rows}"]


BEAT: Path[None] = Path(
    name="heartbeat", prepare=lambda: None, run=lambda _nothing: sweeper.beat(queues=["sagas"], found=1),
    recover=beat_a_day_later, judge=judge_heartbeats, least=6,
)  # fmt: skip


@dataclass(kw_only=True)
class Attic:
    """Two old closed sagas and one old open saga."""

    directory: FilePath
    """Directory of this case's archives."""
    over: tuple[UUID, UUID]
    still_open: UUID
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of the open saga, by table and database, before the cleanup."""


def make_cleanup_path(directory: FilePath) -> Path[Attic]:
    """Describe the cleanup of closed sagas, with an archive; each saga is a batch of its own."""

    def prepare() -> Attic:
        forget_barriers()
        completed, cancelled, waiting = (make_shopper().place() for _ in range(3))
        cancelled.cancel()
        for shopper in (completed, cancelled):
            finish(shopper.saga_id)
        # Two steps: with databases of their own, two participants have barrier rows of the open saga.
        advance(waiting.saga_id, attempts=2)
        pass_time(UNTIL_CLEANUP)
        own = directory / uuid4().hex
        own.mkdir()
        attic = Attic(directory=own, over=(completed.saga_id, cancelled.saga_id), still_open=waiting.saga_id)
        attic.rows = count_rows(attic.still_open)
        return attic

    return Path(
        name="saga_cleanup", prepare=prepare, run=clean_up_sagas, recover=clean_up_again, judge=judge_attic, least=30
    )


def forget_barriers() -> None:
    """Delete barrier rows of open sagas of earlier cases, through which a cleanup in batches of one would page."""
    for alias in barrier_databases():
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM sagas_sagabarrier")


def clean_up_sagas(attic: Attic) -> None:
    """Run the command, with a new archive."""
    archive = attic.directory / f"{len(list(attic.directory.iterdir()))}.ndjson"
    call_command(
        "saga_cleanup", "--older-than", "30d", "--batch-size", "1", "--archive", str(archive),
        "--verbosity", "0", stdout=io.StringIO(), stderr=io.StringIO(),
    )  # fmt: skip


def clean_up_again(attic: Attic) -> None:
    """Check that all deleted sagas are archived, and run the command again."""
    archived = read_archives(attic)
    lost = [pk for pk in attic.over if count_rows(pk)["sagas_saga"] == 0 and pk not in archived]
    assert not lost, f"deleted, and in no archive: {lost}"
    clean_up_sagas(attic)


def judge_attic(attic: Attic) -> list[str]:
    """Check what must be deleted, what must stay, orphans, and the contents of the archives."""
    problems = [f"{pk} is not gone: {rows}" for pk in attic.over if any((rows := count_rows(pk)).values())]
    if (rows := count_rows(attic.still_open)) != attic.rows:
        problems.append(f"the open saga had {attic.rows} and has {rows}")
    for table in PARTS:
        statement = (
            f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM sagas_saga s WHERE s.id = t.saga_id)"  # noqa: S608
        )
        if orphans := fetch("default", statement)[0][0]:
            problems.append(f"{orphans} rows of {table} have no saga")
    archived = read_archives(attic)
    problems += [f"{pk} is in no archive" for pk in attic.over if pk not in archived]
    problems += [f"{pk} was archived while open" for pk in archived if pk == attic.still_open]
    for pk, document in archived.items():
        numbers = [entry["number"] for entry in document["history"]]
        if numbers != list(range(1, document["history_count"] + 1)):
            problems.append(f"the archive of {pk} has the history {numbers}")
    return problems


def count_rows(saga_id: UUID) -> dict[str, int]:
    """Count all rows of a saga by table, and its barrier rows by database."""
    found = {}
    for table in PARTS:
        statement = f"SELECT count(*) FROM {table} WHERE saga_id = %s"  # noqa: S608 - a constant
        found[table] = fetch("default", statement, saga_id)[0][0]
    found["sagas_saga"] = fetch("default", "SELECT count(*) FROM sagas_saga WHERE id = %s", saga_id)[0][0]
    for alias in barrier_databases():
        statement = "SELECT count(*) FROM sagas_sagabarrier WHERE key LIKE %s"
        found[f"barrier in {alias}"] = fetch(alias, statement, f"{saga_id}:%")[0][0]
    return found


def read_archives(attic: Attic) -> dict[UUID, dict[str, Any]]:
    """Read all archives of the case; a saga may be in two."""
    lines = [line for archive in attic.directory.iterdir() for line in archive.read_text().splitlines()]
    documents = [json.loads(line) for line in lines]
    return {UUID(document["id"]): document for document in documents}


@dataclass(kw_only=True)
class Answers:
    """Three stored answers."""

    expired: Shopper
    """Answer of a closed saga, the only one that may be deleted."""
    expired_but_open: Shopper
    fresh: Shopper


def prepare_answers() -> Answers:
    """Place three orders over HTTP, finish two, and let two answers and all throttle counters expire."""
    answers = Answers(expired=make_shopper(), expired_but_open=make_shopper(), fresh=make_shopper())
    for shopper in (answers.expired, answers.expired_but_open, answers.fresh):
        assert shopper.post().status_code == 202
        shopper.find_saga()
    for shopper in (answers.expired, answers.fresh):
        finish(shopper.saga_id)
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "UPDATE orders_idempotencyrecord SET expires_at = now() - interval '1 day' WHERE user_id = ANY(%s)",
            [[answers.expired.user.pk, answers.expired_but_open.user.pk]],
        )
        cursor.execute("UPDATE orders_throttlebucket SET free_at = now() - interval '1 day'")
    return answers


def clean_up_answers(_answers: Answers) -> None:
    """Run the command."""
    call_command("checkout_cleanup", stdout=io.StringIO())


def judge_answers(answers: Answers) -> list[str]:
    """Check the two answers that must stay, and that no expired counter is left."""
    shoppers = (answers.expired, answers.expired_but_open, answers.fresh)
    rows = fetch("default", "SELECT user_id FROM orders_idempotencyrecord")
    found = [(shopper.user.pk,) in rows for shopper in shoppers]
    ((counters,),) = fetch("default", "SELECT count(*) FROM orders_throttlebucket WHERE free_at < now()")
    problems = [] if found == [False, True, True] else [f"remembered are {found}, not the last two"]
    problems += [f"{counters} counters are left"] if counters else []
    # Orders and the idempotency that protects the open one are unchanged.
    replayed = answers.expired_but_open.post()
    if (replayed.status_code, replayed.get("Idempotent-Replayed")) != (202, "true"):
        problems.append(f"the open order's answer is gone: {replayed.status_code}")
    return [*problems, *find_problems(answers.fresh, COMPLETED), *find_problems(answers.expired, COMPLETED)]


CHECKOUT_CLEANUP: Path[Answers] = Path(
    name="checkout_cleanup", prepare=prepare_answers, run=clean_up_answers, recover=clean_up_answers,
    judge=judge_answers, least=6,
)  # fmt: skip
