"""Settings of another project: everything works, or ``manage.py check`` refuses with a way out."""

import ast
from pathlib import Path
from typing import Any

import pytest

from .settings_table import IN_EVERY_RUN, SETTINGS, Setting
from .table import PROPERTY, Line, as_property, compare, short
from .testbed import PROJECT, Databases, Testbed, how_to_repeat

WITHOUT_WORKER = [setting for setting in SETTINGS if not setting.worker and not setting.refused]
WITH_WORKER = [setting for setting in SETTINGS if setting.worker]
REFUSED = [setting for setting in SETTINGS if setting.refused]


def by_name(settings: list[Setting]) -> Any:
    marks = {setting.name: () if setting.name in IN_EVERY_RUN else pytest.mark.full for setting in settings}
    chosen = [pytest.param(setting, id=setting.name, marks=marks[setting.name]) for setting in settings]
    return pytest.mark.parametrize("setting", chosen)


def list_variations() -> dict[str, str]:
    """Return the description of each variation."""
    module = ast.parse((PROJECT / "harbour" / "variations.py").read_text())
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    return {
        node.name: (ast.get_docstring(node) or "").strip()
        for node in functions
        if any(isinstance(one, ast.Name) and one.id == "variation" for one in node.decorator_list)
    }


def words_of(setting: Setting, variation: str) -> str:
    """Return the description of a setting and of what the test sets besides it."""
    parts = [list_variations()[variation]]
    parts += [f"{name} = {value} by ALTER DATABASE" for name, value in setting.database_defaults.items()]
    parts += [setting.driver] if setting.driver != "psycopg" else []
    parts += [" ".join(setting.worker)] if setting.worker else []
    parts += [f"beside {other}" for other in setting.variations if other != variation]
    return ", ".join(parts)


def judge(setting: Setting, found: dict[str, Any], record: Any) -> None:
    """Add the results of a setting to the table, and fail unless all were as expected."""
    for variation in setting.variations:
        name = variation if len(setting.variations) > 1 else setting.name
        record(PROPERTY, as_property(compare(setting, name, words_of(setting, variation), found)))
    assert found == dict(setting.expected), f"By hand: {how_to_repeat(setting)}"


def run_with_worker(
    setting: Setting, testbed: Testbed, databases: Databases, broker_url: str, directory: Path
) -> tuple[dict[str, Any], str]:
    """Run a setting with its worker.

    Returns: the results, and the worker's log.
    """
    log = directory / "worker.log"
    worker = testbed.start_worker(setting, databases, broker_url, log)
    try:
        found = testbed.drive(setting, databases, *setting.expected, broker_url=broker_url)
    finally:
        worker.stop()
    return found, log.read_text()


@by_name(WITHOUT_WORKER)
def test_setting_works(setting: Setting, testbed: Testbed, record_property: Any) -> None:
    with testbed.databases(setting) as databases:
        found = testbed.drive(setting, databases, *setting.expected)

    judge(setting, found, record_property)


@by_name(WITH_WORKER)
def test_worker_executes_everything(
    setting: Setting, testbed: Testbed, valkey_url: str, tmp_path: Path, record_property: Any
) -> None:
    with testbed.databases(setting) as databases:
        found, log = run_with_worker(setting, testbed, databases, valkey_url, tmp_path)

    judge(setting, found, record_property)
    assert "Traceback" not in log
    assert "ERROR" not in log


@by_name(REFUSED)
def test_setting_is_refused_with_a_solution(setting: Setting, testbed: Testbed, record_property: Any) -> None:
    with testbed.databases(setting) as databases:
        complaints: Any = testbed.drive(setting, databases, "complaints")["complaints"]

    refusal = "; ".join(f"{number} {short(text)} {short(hint)}" for number, text, hint in complaints)
    found = tuple(number for number, _, _ in complaints)
    wrong = () if found == setting.refused else (("check", f"{list(found)}, not {list(setting.refused)}"),)
    line = Line(
        name=setting.name, words=words_of(setting, setting.variation), driven=("check",), wrong=wrong, refusal=refusal
    )
    record_property(PROPERTY, as_property(line))
    assert found == setting.refused, f"By hand: {how_to_repeat(setting)}"
    assert all(len(hint) > len("None") for _, _, hint in complaints)


def test_every_variation_is_tested() -> None:
    assert {setting.name for setting in SETTINGS} > IN_EVERY_RUN
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    # PgBouncer is a Debian package and tested in tests/brokers.
    assert set(list_variations()) == {name for setting in SETTINGS for name in setting.variations} | {
        "behind_pgbouncer",
        "worker_behind_pgbouncer",
    }
