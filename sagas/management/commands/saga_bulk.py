from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser
from django.db import transaction

from ...conf import get_settings
from ...exceptions import BadRequest
from ...models import SagaBulk
from ...operators.actor import Actor
from ...operators.bulk import freezing, preconditions
from ...operators.bulk.preconditions import BULK_OPERATIONS, EVERYTHING
from ...operators.preconditions import Operation
from ...operators.queries.listing import find_saga
from ...operators.queries.saga_filter import SagaFilter
from ...transactions import own_transaction
from .. import arguments
from ..base import MAX_REVISION, SagaCommand, check_words
from ..filter_options import add_filter_options, has_filter, read_filter


class Command(SagaCommand):
    help = (
        "Perform one operation on many sagas: those given by --id, or open ones that match a filter now.\n"
        "Workers or saga_sweep --run perform it in the background; saga_bulk_show shows the progress.\n"
        f"More than {preconditions.CONFIRM_COUNT_ABOVE} need --count; all open sagas need --everything and --words."
    )
    example = (
        'manage.py saga_bulk retry --display waiting_for_retry --definition checkout --reason "The provider is back"\n'
        f'  manage.py saga_bulk pause --everything --words "{EVERYTHING}" --count 312 --reason "..."\n'
        "  manage.py saga_bulk cancel --search ORD-7 --dry-run"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the operation, the selection of sagas and the confirmation."""
        add = parser.add_argument
        add("operation", choices=[operation.value for operation in BULK_OPERATIONS], help="the operation")
        add("--id", action="append", default=[], type=arguments.saga_id, metavar="ID", help="this saga; repeatable")
        add_filter_options(parser)
        add("--everything", action="store_true", help="every open saga; not with a filter")
        add("--reason", type=arguments.text, metavar="TEXT", help="why, 10 to 500 characters; stored")
        add("--count", type=arguments.WholeNumber(0, MAX_REVISION), metavar="N", help="the number of sagas you expect")
        add("--words", type=arguments.text, default="", metavar="TEXT", help=f'"{EVERYTHING}", for --everything')
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")
        add("--dry-run", action="store_true", help="print how many sagas it would affect, and change nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Freeze the set and confirm it, in one transaction: a refusal leaves no rows.

        Raises: OperationRefused, such as BadRequest or PermissionRefused.
        """
        operation, actor = Operation(options["operation"]), Actor.of_command_line(options["user"])
        if options["dry_run"]:
            self._try(operation, actor, options)
            return
        if options["reason"] is None:
            raise BadRequest("--reason is required: 10 to 500 characters.")
        check_words(options)
        with own_transaction(get_settings().database, joins=True):
            frozen = _freeze(operation, actor, options)
            started, _ = freezing.start_bulk(
                frozen.pk, actor=actor, reason=options["reason"], count=options["count"], words=options["words"]
            )
        if options["json"]:
            self.print_json({"id": str(started.pk), "operation": started.operation, "total": started.total})
            return
        self.stdout.write(f"Started: {operation.value} of {started.total} sagas ({started.words}).")
        self.stdout.write(f"manage.py saga_bulk_show {started.pk} shows the progress.")

    def _try(self, operation: Operation, actor: Actor, options: Mapping[str, Any]) -> None:
        """Print the number of sagas, freeze the set, check the given confirmation, and roll back.

        Raises: OperationRefused, as the real run does; missing confirmations are only printed.
        """
        check_words(options)
        preconditions.require_permissions(actor, operation)
        self._print_count(operation, options)
        using = get_settings().database
        with own_transaction(using, joins=True):
            frozen = _freeze(operation, actor, options)
            freezing.check_confirmation(frozen, options["count"], options["words"], is_whole=False)
            transaction.set_rollback(True, using=using)
        needed = []
        if options["count"] is None and frozen.total > preconditions.CONFIRM_COUNT_ABOVE:
            needed.append(f"--count {frozen.total}")
        if frozen.is_unfiltered and not options["words"]:
            needed.append(f'--words "{EVERYTHING}"')
        if needed and not options["json"]:
            self.stdout.write(f"To perform it, add {' and '.join(needed)}.")

    def _print_count(self, operation: Operation, options: Mapping[str, Any]) -> None:
        if options["id"]:
            count, words = len(set(_find_ids(options))), freezing.SELECTED
        else:
            wanted = _read_filter(options)
            count, words = freezing.count_matching(wanted.select()), wanted.describe() or EVERYTHING
        if options["json"]:
            self.print_json({"operation": operation.value, "count": count, "words": words})
        else:
            most = get_settings().bulk_max
            shown = str(count) if count <= most else f"more than {most}"
            self.stdout.write(f"{operation.value} of {shown} sagas ({words}). Nothing was done.")


def _freeze(operation: Operation, actor: Actor, options: Mapping[str, Any]) -> SagaBulk:
    if options["id"]:
        return freezing.freeze_selected(operation, _find_ids(options), actor=actor)
    wanted = _read_filter(options)
    return freezing.freeze_matching(
        operation,
        wanted.select(),
        actor=actor,
        filter=wanted.as_dict(),
        words=wanted.describe() or EVERYTHING,
        everything=options["everything"],
    )


def _find_ids(options: Mapping[str, Any]) -> list[UUID]:
    if options["everything"] or has_filter(options):
        raise BadRequest("Give only one of --id, a filter and --everything.")
    return [find_saga(text) for text in options["id"]]


def _read_filter(options: Mapping[str, Any]) -> SagaFilter:
    wanted = read_filter(options)
    freezing.require_scope(wanted.as_dict(), everything=options["everything"])
    return wanted
