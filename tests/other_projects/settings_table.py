"""Settings of other projects, and the expected results.

A setting either works, and then everything that is driven ends exactly as it does with default settings but for what is
said here; or ``manage.py check`` refuses it with an error that tells the way out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

CONFIRMED = {"status": "confirmed", "free": 7, "cars": 1, "meals": 2}
UNDONE = {"status": "pending", "free": 9, "cars": 0, "meals": 0}

# The features, and their results.
RUNNING: Mapping[str, Any] = {
    "check": [],
    "book_from_view": "crossing",
    "fail_after_starting": 0,
    "complete": ["completed", CONFIRMED, 2],
    "compensate": ["compensated", UNDONE, 0],
    "wait_and_wake": ["running", "completed", "confirmed"],
    "start_from_function": ["completed", "confirmed"],
}
THREADS: Mapping[str, Any] = {"run_side_by_side": [["completed"] * 2, 1, []]}
CONSOLE: Mapping[str, Any] = {
    "retry_from_console": [200, True, "completed"],
    "operate_from_console": [[[200, "paused"], [200, None], [200, None]], "compensated"],
    "bulk_from_console": [200, "finished", [["3", "3"]], ["completed"] * 3],
    "show_payload": [True, 1],
}
PAGES: Mapping[str, Any] = {"open_every_page": [[], [], [], True]}
UPKEEP: Mapping[str, Any] = {
    "tell_times": [0, 0, 0],
    "sweep": "Handled 0 due sagas in 1 sweeps.",
    # Without a worker: only this process sweeps.
    "doctor": ["workers", "queues"],
    "verify_log": [True, []],
    "find_no_violation": [],
    "leave_no_unexpected_state": [],
    "warn_of_nothing": [],
}
OWN_TESTS: Mapping[str, Any] = {"own_tests": [0, 3]}

USUAL = {**RUNNING, **UPKEEP}
BESIDE_A_WORKER = {**RUNNING, **CONSOLE, **UPKEEP, "sweep": "left to the worker", "doctor": []}


class Layout(Enum):
    """Databases of a project.

    Shape: the template's name, the aliases in it, the variation that migrates it, and what a setting gets beside it.
    """

    ONE = ("one", ("default",), "default", "")
    REPLICA = ("one", ("default",), "default", "an empty replica")
    APART = ("apart", ("default", "engine"), "engine_database", "")
    PEOPLE = ("people", ("default",), "user_model", "")
    TALL = ("tall", ("default",), "default", "a saga with much history")

    def __init__(self, template: str, aliases: tuple[str, ...], variation: str, beside: str) -> None:
        self.template, self.aliases, self.variation, self.beside = template, aliases, variation, beside


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One configuration of a project.

    variation: its function in the project's ``harbour/variations.py``, or several joined by a plus sign, set together
    because they have nothing to do with one another. expected: what is driven, and what comes of it.
    refused: the checks that refuse it instead. driver: of the database. layout: of the databases. database_defaults:
    what ``ALTER DATABASE … SET`` sets. clock: the moment at which the database's clock begins. worker: options of the
    worker that runs beside it. label: where one variation is tried in several ways.
    """

    variation: str
    expected: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    driver: str = "psycopg"
    layout: Layout = Layout.ONE
    database_defaults: Mapping[str, str] = field(default_factory=dict)
    clock: str = ""
    worker: tuple[str, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """Return the name of its test and of its line in the table."""
        return self.label or self.variation

    @property
    def variations(self) -> list[str]:
        """Return the combined variations."""
        return self.variation.split("+")


def isolated(level: str) -> dict[str, str]:
    """Return the default for a database's isolation level."""
    return {"default_transaction_isolation": level}


def works(variation: str, *more: Mapping[str, Any], **options: Any) -> Setting:
    """Return a setting under which all usual features work, and more."""
    expected = dict(USUAL)
    for each in more:
        expected.update(each)
    return Setting(variation=variation, expected=expected, **options)


def shows(variation: str, *more: Mapping[str, Any], **options: Any) -> Setting:
    """Return a setting that concerns the console only: operations and every page."""
    expected: dict[str, Any] = {"check": [], **CONSOLE, **PAGES}
    for each in more:
        expected.update(each)
    return Setting(variation=variation, expected=expected, **options)


def serves(variation: str, label: str, *worker: str, **options: Any) -> Setting:
    """Return a setting with a Celery worker."""
    return Setting(variation=variation, label=label, worker=worker, expected=BESIDE_A_WORKER, **options)


OF_THREADS = ("--pool", "threads", "--concurrency", "4")
THE_DOUBLED_HOUR = {"doctor": ["clock", "workers", "queues"]}
TALL = {"operate_tall_saga": [[200, "paused"], [200, None], [200, None], "completed"]}
TALL_ALONE = {"check": [], **TALL, "bulk_from_console": CONSOLE["bulk_from_console"]}

SETTINGS = (
    works("default", THREADS, CONSOLE, PAGES, OWN_TESTS),
    # The database
    works("read_committed+connections_for_a_minute+time_zone+eager_without_wakeups", THREADS),
    works("repeatable_read+no_translation", THREADS, CONSOLE),
    works("serializable+connections_for_ever", THREADS, CONSOLE),
    works("default", THREADS, label="repeatable_read_of_database", database_defaults=isolated("repeatable read")),
    works("default", THREADS, label="serializable_of_database", database_defaults=isolated("serializable")),
    works("atomic_requests+time_zone_of_database", CONSOLE),
    works("server_side_binding+right_to_left", THREADS, CONSOLE),
    works("connection_pool+naive_times_far_west", THREADS, CONSOLE),
    works("default", THREADS, CONSOLE, driver="psycopg2", label="psycopg2"),
    works("read_replica+naive_times", CONSOLE, PAGES, layout=Layout.REPLICA),
    works("engine_database", THREADS, CONSOLE, PAGES, OWN_TESTS, layout=Layout.APART),
    # Time and language
    works("naive_times_in_the_doubled_hour", CONSOLE, THE_DOUBLED_HOUR, clock="2026-10-25 00:10:00+00"),
    works("time_zone_of_database_in_the_doubled_hour", THE_DOUBLED_HOUR, clock="2026-10-25 01:10:00+00"),
    Setting(variation="separators_de", expected=TALL_ALONE, layout=Layout.TALL),
    Setting(variation="separators_fr", expected=TALL_ALONE, layout=Layout.TALL),
    Setting(variation="separators_en", expected=TALL_ALONE, layout=Layout.TALL),
    shows("separators_everywhere", TALL, layout=Layout.TALL),
    # The admin
    shows("site_alone"),
    shows("site_beside"),
    shows("site_instead+prefix_of_the_server"),
    works("no_admin", OWN_TESTS),
    shows("unfold"),
    works("user_model", CONSOLE, layout=Layout.PEOPLE),
    works("forced_prefix+pickle_beside_json", PAGES),
    # Celery
    serves("worker", "worker_prefork", "--pool", "prefork", "--concurrency", "2"),
    serves("worker", "worker_solo", "--pool", "solo", driver="psycopg2"),
    serves("worker", "worker_gevent", "--pool", "gevent", "--concurrency", "20"),
    serves("worker_on_connection_pool+worker_on_repeatable_read", "worker_threads", *OF_THREADS),
    works("eager", {"run_eagerly": ["completed", "compensated"]}, CONSOLE, OWN_TESTS),
    # Refused by manage.py check
    Setting(variation="autocommit_off", refused=("sagas.E018",)),
    Setting(variation="pickle_alone", refused=("sagas.E022",)),
)

# PgBouncer is a Debian package, so these run in tests/brokers. It accepts no libpq options; the limits that
# the doctor wants are the database's.
LIMITS = {"statement_timeout": "30s", "lock_timeout": "20s", "idle_in_transaction_session_timeout": "60s"}
BEHIND_PGBOUNCER = works("behind_pgbouncer", THREADS, CONSOLE, database_defaults=LIMITS)
WORKER_BEHIND_PGBOUNCER = serves(
    "worker_behind_pgbouncer", "worker_behind_pgbouncer", *OF_THREADS, database_defaults=LIMITS
)

# Those most unlike one another, which `.ci/run` drives; `make test-matrix` drives all.
IN_EVERY_RUN = frozenset({
    "serializable+connections_for_ever", "connection_pool+naive_times_far_west", "engine_database", "user_model",
    "psycopg2", "unfold", "worker_prefork", "autocommit_off",
})  # fmt: skip
BY_NAME = {setting.name: setting for setting in SETTINGS}
