"""Writers: the modules that change rows are known; the state of a saga changes only in ``unit_of_work`` (I8)."""

import ast
import re
from collections.abc import Iterator

from config.local.runtime import ROOT

SAGAS = ROOT / "sagas"
METHODS = {
    "bulk_create", "bulk_update", "create", "delete", "get_or_create", "save", "update", "update_or_create",
}  # fmt: skip
WRITE = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM) sagas_saga(?:step|attempt|history|key)?\b")
# Statements on rows of sagas: those of the unit of work, wake marks, hook times and deletions.
BY_STATEMENT = {"engine/store/statements.py", "retention/purge.py", "worker/owed_hooks.py", "worker/sweeper.py"} | {
    "choreography/sweeping.py"
}
# Calls of Django's methods: hook times, and otherwise tables beside those of sagas.
BY_METHOD = {
    "admin/ui/groups.py", "engine/closed_hooks.py", "operators/bulk/freezing.py", "operators/bulk/runner.py",
    "operators/saved_views.py", "participants/barrier.py", "retention/bulks.py", "retention/purge.py",
    "retention/views.py", "worker/sweeper.py",
    # Facts of choreographed sagas, which only the tracker and operators add.
    "choreography/tracker.py", "operators/choreographed_changes.py",
}  # fmt: skip
OF_DICTS = {"api/fields.py", "core/definition/registry.py", "management/base.py", "operators/queries/statistics.py"}


def list_modules() -> Iterator[tuple[str, str]]:
    """Yield the path and the source of each module of the engine, without migrations."""
    for path in sorted(SAGAS.rglob("*.py")):
        if "migrations" not in path.parts:
            yield path.relative_to(SAGAS).as_posix(), path.read_text()


def calls_writer(source: str) -> bool:
    """Return whether code calls a method that may write rows."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Attribute) and called.attr in METHODS for called in calls)


def test_modules_that_may_write_rows_are_known() -> None:
    assert {path for path, source in list_modules() if calls_writer(source)} == BY_METHOD | OF_DICTS
    assert {path for path, source in list_modules() if WRITE.search(source)} == BY_STATEMENT


def test_statements_are_for_the_unit_of_work_its_draft_and_starts() -> None:
    found = {path for path, source in list_modules() if re.search(r"^from .*\bstatements\b", source, re.MULTILINE)}
    assert found == {"engine/start_saga.py", "engine/store/draft.py", "engine/store/unit_of_work.py"}
