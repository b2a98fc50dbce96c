import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ... import clock
from ...conf import get_settings
from ...core.states import CLOSED_STATES, SagaState
from ...retention import purge
from ...retention.archive import Archive
from ...retention.purge import BATCH_SIZE, MAX_BATCH_SIZE, Report, Scope
from .. import arguments
from ..base import REFUSED, WRONG_CALL, SagaCommand, first_line
from ..stopping import stoppable

PROGRESS_SECONDS = 2.0
MAX_NAMED = 10


class Command(SagaCommand):
    help = (
        "Delete closed sagas with their steps, attempts, history and keys, and barrier rows older\n"
        "than SAGAS['BARRIER_RETENTION'] in every database; never an open saga. Also deletes bulks that\n"
        "ended as long ago, but not before SAGAS['ACCESS_RETENTION'], and bulks that were never\n"
        "confirmed, the own saved views of deleted accounts, and events older than RETENTION of\n"
        "SAGAS['EVENTS'] with which nothing is left to do. Works in small transactions; Ctrl-C stops it\n"
        "cleanly. Exit code 1 if anything could not be deleted."
    )
    example = (
        "manage.py saga_cleanup --older-than 30d --dry-run\n"
        "  manage.py saga_cleanup --older-than 12w --state completed --archive sagas-2026-11.ndjson.gz"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the scope, the batch size and the archive."""
        add = parser.add_argument
        add(
            "--older-than",
            required=True,
            type=arguments.age,
            metavar="AGE",
            help="minimum time since the saga was closed: 30d, also m (minutes), h, w",
        )
        add(
            "--state",
            action="append",
            default=[],
            choices=sorted(state.value for state in CLOSED_STATES),
            help="only this state; may be repeated (default: completed and compensated)",
        )
        add("--include-abandoned", action="store_true", help="also abandoned sagas and their lists of effects left")
        add(
            "--batch-size",
            type=arguments.WholeNumber(1, MAX_BATCH_SIZE),
            default=BATCH_SIZE,
            metavar="N",
            help=f"sagas in one transaction, at most {MAX_BATCH_SIZE} (default: {BATCH_SIZE})",
        )
        add(
            "--archive",
            type=arguments.archive_path,
            metavar="FILE",
            help="first write each saga as a line of JSON to this new file (.ndjson or .ndjson.gz)",
        )
        add("--dry-run", action="store_true", help="count only")

    def run(self, options: Mapping[str, Any]) -> None:
        """Delete the sagas, and print the report."""
        now = clock.read_now(get_settings().database)
        scope = Scope(closed_before=now - options["older_than"], states=_choose_states(options))
        if options["dry_run"]:
            with _open_archive(options["archive"]):
                # Created and removed again, so that this run fails if the real one could not write it.
                report = purge.count_expired(scope)
            self._print(report, options)
            return
        with stoppable() as stop, _open_archive(options["archive"]) as archive:
            report = purge.clean_up(
                scope,
                batch_size=options["batch_size"],
                archive=archive,
                should_stop=stop,
                progress=self._report_progress(options["verbosity"]),
            )
        self._print(report, options)

    def _report_progress(self, verbosity: int) -> Any:
        reported_at = time.monotonic()

        def show(report: Report) -> None:
            nonlocal reported_at
            if verbosity and time.monotonic() - reported_at >= PROGRESS_SECONDS:
                reported_at = time.monotonic()
                self.stderr.write(f"{report.sagas} sagas and {report.barriers} barrier rows deleted so far.")

        return show

    def _print(self, report: Report, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(
                {
                    "sagas": report.sagas, "barriers": report.barriers, "bulks": report.bulks, "looks": report.accesses,
                    "views": report.views, "outbox": report.outbox, "inbox": report.inbox,
                    "event_rows": report.event_rows,
                    "failed": [str(pk) for pk in report.failed], "unreachable": report.unreachable,
                    "is_stopped": report.is_stopped, "dry_run": options["dry_run"],
                }
            )  # fmt: skip
        else:
            verb = "Would delete" if options["dry_run"] else "Deleted"
            stopped = " Stopped on request; the next run deletes the rest." if report.is_stopped else ""
            self.stdout.write(f"{verb} {_describe(report, is_trial=options['dry_run'])}.{stopped}")
        if not report.is_whole:
            raise CommandError(_describe_failures(report), returncode=REFUSED)


def _describe(report: Report, *, is_trial: bool) -> str:
    """Return the counts that are not 0. A trial does not check which barrier rows are still needed."""
    parts = [f"{report.sagas} sagas"]
    more = (
        (report.bulks, "bulks"), (report.accesses, "access records"), (report.views, "saved views"),
        (report.outbox, "sent events"), (report.inbox, "received events"),
        (report.event_rows, "keys, counters and heartbeats of events"),
    )  # fmt: skip
    parts += [f"{n} {name}" for n, name in more if n]
    at_most = "at most " if is_trial and report.barriers else ""
    return f"{', '.join(parts)} and {at_most}{report.barriers} barrier rows"


def _choose_states(options: Mapping[str, Any]) -> frozenset[SagaState]:
    chosen = frozenset(SagaState(state) for state in options["state"]) or CLOSED_STATES - {SagaState.ABANDONED}
    if options["include_abandoned"]:
        return chosen | {SagaState.ABANDONED}
    if SagaState.ABANDONED in chosen:
        raise CommandError(
            "--state abandoned needs --include-abandoned: the lists of effects they left behind are deleted, too.",
            returncode=WRONG_CALL,
        )
    return chosen


@contextmanager
def _open_archive(path: Path | None) -> Iterator[Archive | None]:
    """Open the archive; refuse one that cannot be written before anything is deleted."""
    if path is None:
        yield None
        return
    try:
        with Archive(path) as archive:
            yield archive
    except FileExistsError as error:
        raise CommandError(
            f"{path} already exists; nothing was deleted. Give a new file name for the archive.", returncode=REFUSED
        ) from error
    except OSError as error:
        # The error's own text repeats the path in Python's notation.
        raise CommandError(
            f"The archive {path} cannot be written: {error.strerror or first_line(error)}."
            " Sagas that are not in it are not deleted.",
            returncode=REFUSED,
        ) from error


def _describe_failures(report: Report) -> str:
    parts = []
    if report.failed:
        named = ", ".join(str(pk) for pk in report.failed[:MAX_NAMED])
        more = f" and {len(report.failed) - MAX_NAMED} more" if len(report.failed) > MAX_NAMED else ""
        parts.append(f"These sagas could not be deleted (the log says why): {named}{more}.")
    if report.unreachable:
        parts.append(
            f"Barrier rows or events of these databases could not be cleaned up: {', '.join(report.unreachable)}."
        )
    return " ".join([*parts, "Fix the cause and run it again."])
