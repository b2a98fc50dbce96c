"""System checks: silent when all is well, otherwise one finding with id and hint."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, current_app
from django.apps import apps
from django.core.checks import CheckMessage, Error, Tags, Warning, run_checks
from django.db import OperationalError, connections
from django.test import override_settings
from kombu import Queue

from sagas import Compensatable, Pivot, RetryPolicy, SagaDefinition, nothing_to_undo
from sagas.core.definition import registry
from sagas.events import declaration, event, handlers, on
from sagas.models import Saga
from sagas.monitoring import checks
from sagas.participants.tables import PARTICIPANT_MODELS, is_participant_table
from tests.commands.cases import completed_trip, start_trip, trips

QUIET = {"WAKEUP": "none"}
ENGINE = "default"
APART = "apart"
NOT_A_FUNCTION = "just a text"


@pytest.fixture(autouse=True)
def _only_known_definitions() -> Iterator[None]:
    with trips():
        registry.forget("trip", 1)
        yield


def do_nothing(step: object) -> None:
    """Do nothing, as a step's action."""


def declare(name: str = "journey", *, module: str = "sagas", version: int = 1, **steps: Any) -> type[SagaDefinition]:
    """Declare a definition in an app's package."""
    meta = type("Meta", (), {"name": name, "version": version})
    return type(SagaDefinition)(f"Journey{version}", (SagaDefinition,), {"__module__": module, **steps, "Meta": meta})


def step(**options: Any) -> Any:
    return Compensatable(do_nothing, nothing_to_undo, **{"participant": "sagas", **options})


def found(check: Callable[..., list[CheckMessage]], **arguments: Any) -> list[CheckMessage]:
    messages = check(**arguments)
    for message in messages:
        assert message.hint
        assert message.msg.endswith((".", "!"))
    return messages


def finding(check: Callable[..., list[CheckMessage]], number: str, **arguments: Any) -> str:
    """Return the message of the only finding, which must have this id."""
    [message] = found(check, **arguments)
    assert message.id == f"sagas.{number}"
    assert isinstance(message, Error if number.startswith("E") else Warning)
    return str(message.msg)


def test_this_project_has_no_findings() -> None:
    assert run_checks(tags=["sagas"], databases=[]) == []


def test_every_check_is_registered_for_the_command_check() -> None:
    registered = {check.__name__ for check in checks_of("sagas")}

    assert registered == {
        "check_settings", "check_redaction", "check_alerts", "check_wakeup", "check_functions", "check_hook_timeout",
        "check_databases", "check_participants", "check_routing", "check_names", "check_queues", "check_timings",
        "check_versions", "check_accepted_content", "check_routes", "check_application", "check_rate_limit",
        "check_remedies", "check_choreographies", "check_event_settings", "check_transport", "check_catalogue",
        "check_event_topics", "check_event_databases",
    }  # fmt: skip
    assert {check.__name__ for check in checks_of("sagas") if Tags.database in check.tags} == {"check_versions"}


def checks_of(tag: str) -> list[Any]:
    from django.core.checks.registry import registry as django_registry

    return [check for check in django_registry.registered_checks if tag in check.tags]


@pytest.mark.parametrize("given", [[], "TIMEOUT", None, 1])
def test_e001_settings_are_a_dict(given: object) -> None:
    with override_settings(SAGAS=given):
        assert "SAGAS is a" in finding(checks.check_settings, "E001")
        assert run_checks(tags=["sagas"], databases=[]) == checks.check_settings()


@pytest.mark.parametrize(
    "given", [{"TIME_OUT": timedelta(seconds=1)}, {"TIMEOUT": 10}, {"SWEEP_PAGE": True}, {"DATABASE": None}]
)
def test_e001_settings_can_be_read(given: Mapping[str, Any]) -> None:
    with override_settings(SAGAS=given):
        assert "SAGAS" in finding(checks.check_settings, "E001")
        assert run_checks(tags=["sagas"], databases=[]) == checks.check_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAKEUP_INTERVAL", timedelta()), ("SWEEP_INTERVAL", timedelta(seconds=-1)), ("TIME_SLICE", timedelta()),
        ("TIMEOUT", timedelta()), ("LEASE_MARGIN", timedelta(seconds=-1)), ("BARRIER_RETENTION", timedelta()),
        ("WORKER_SEEN_WITHIN", timedelta()), ("SWEEP_PAGE", 0), ("WAKEUP_CAPACITY", -1), ("RESULT_MAX_BYTES", 0),
        ("DEFAULT_QUEUE", "two words"),
    ],
)  # fmt: skip
def test_e002_values_can_work(name: str, value: object) -> None:
    with override_settings(SAGAS={**QUIET, name: value}):
        assert f"SAGAS['{name}'] is" in finding(checks.check_settings, "E002")


@pytest.mark.parametrize("name", ["POLL_AFTER", "LEASE_MARGIN"])
def test_e002_zero_is_valid_where_it_has_a_meaning(name: str) -> None:
    with override_settings(SAGAS={**QUIET, name: timedelta()}):
        assert checks.check_settings() == []


@pytest.mark.parametrize(
    "path",
    ["sagas.engine.notify.wakeup_sending.send_it", "nowhere.send", "send", "tests.engine.test_checks.NOT_A_FUNCTION"],
)
def test_e003_wakeup_names_a_function(path: str) -> None:
    with override_settings(SAGAS={"WAKEUP": path}):
        assert path in finding(checks.check_wakeup, "E003")


def test_e003_any_function_is_accepted() -> None:
    with override_settings(SAGAS={"WAKEUP": "tests.engine.test_checks.do_nothing"}):
        assert checks.check_wakeup() == []


def test_e004_the_engine_has_a_database() -> None:
    with override_settings(SAGAS={**QUIET, "DATABASE": "elsewhere"}):
        assert "'elsewhere'" in finding(checks.check_databases, "E004")
        assert checks.check_routing() == []


class Router:
    """Router that sends an app elsewhere and assigns databases as the test says."""

    def __init__(
        self, places: Mapping[str, str], *, barrier: bool = True, engine_tables: bool = False, events: bool = True
    ) -> None:
        self.places, self.barrier, self.engine_tables, self.events = places, barrier, engine_tables, events

    def db_for_write(self, model: Any, **_hints: Any) -> str | None:
        meta = model._meta
        return self.places.get(f"{meta.app_label}.{meta.model_name}") or self.places.get(meta.app_label)

    db_for_read = db_for_write

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_hints: Any) -> bool | None:
        if db != APART or app_label != "sagas":
            return None
        if model_name == "sagabarrier":
            return self.barrier
        return self.events if is_participant_table(app_label, model_name) else self.engine_tables


@pytest.fixture
def second_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure a second database, which is never connected to."""
    monkeypatch.setitem(connections.settings, APART, {**connections.settings[ENGINE], "NAME": "apart"})


def routed(**options: Any) -> Any:
    return override_settings(DATABASE_ROUTERS=[Router(**options)])


def test_e005_the_engine_s_models_go_to_the_engine_s_database(second_database: None) -> None:
    with routed(places={"sagas.sagastep": APART}):
        assert finding(checks.check_databases, "E005") == (
            "Routers send SagaStep to 'apart', but the engine's database is 'default'."
        )
    with routed(places={"sagas.sagabarrier": APART}):
        assert checks.check_databases() == []


def test_e006_the_databases_are_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite = {**connections.settings[ENGINE], "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, APART, sqlite)
    declare(book=step(participant="auth"))
    with routed(places={"auth": APART}):
        assert finding(checks.check_databases, "E006") == "Database 'apart' of the sagas is sqlite, not PostgreSQL."
    with routed(places={}):
        assert checks.check_databases() == []
    del connections[APART]


def test_e007_participants_are_installed_apps() -> None:
    declare(book=step(participant="airline"), pay=step())

    text = finding(checks.check_participants, "E007")

    assert text == "Step book of saga journey@1: participant 'airline' is not an installed app."


def test_w001_a_step_has_a_participant() -> None:
    declare(module="nowhere", book=Compensatable(do_nothing, nothing_to_undo), pay=step())

    assert "Step book of saga journey@1 names no participant" in finding(checks.check_participants, "W001")


def test_the_definition_s_own_app_is_the_participant() -> None:
    declare(module="sagas.somewhere", book=Compensatable(do_nothing, nothing_to_undo))

    assert checks.check_participants() == []


def test_e008_a_participant_is_in_a_database_that_exists() -> None:
    declare(book=step(participant="auth"))
    with routed(places={"auth": "nowhere"}):
        assert "'auth' to 'nowhere'" in finding(checks.check_routing, "E008")


def test_e008_a_participant_is_in_one_database(second_database: None) -> None:
    declare(book=step(participant="auth"))
    with routed(places={"auth.user": APART}):
        assert finding(checks.check_routing, "E008") == (
            "Models of 'auth' are in several databases: 'apart', 'default'."
        )


def test_e009_a_participant_in_another_database_has_a_barrier(second_database: None) -> None:
    declare(book=step(participant="auth"))
    with routed(places={"auth": APART}, barrier=False):
        assert "Database 'apart' of 'auth' gets no barrier table" in finding(checks.check_routing, "E009")
    with routed(places={"auth": APART}):
        assert checks.check_routing() == []


def test_e010_a_participant_in_another_database_has_no_engine_tables(second_database: None) -> None:
    declare(book=step(participant="auth"))
    with routed(places={"auth": APART}, engine_tables=True):
        assert "Database 'apart' of 'auth' would get the engine's tables" in finding(checks.check_routing, "E010")


@pytest.fixture
def heard() -> Iterator[None]:
    """Let ``auth`` handle an event of ``contenttypes``, neither of which takes part in a saga."""

    @event("TestHeard", sender="contenttypes")
    class Heard:
        text: str

    @on(Heard, consumer="auth")
    def hear(heard: Heard) -> None:
        """Do nothing."""

    yield
    handlers.forget(hear)
    declaration.forget(Heard)


EVENTS_ON = {**QUIET, "EVENTS": {"URL": "memory://", "PARTICIPANTS": ["auth", "contenttypes"]}}


@override_settings(SAGAS=EVENTS_ON)
def test_e009_a_participant_of_events_has_their_tables(second_database: None, heard: None) -> None:
    tables = [repr(name) for name in sorted(PARTICIPANT_MODELS) if name != "sagabarrier"]
    for label in ("auth", "contenttypes"):
        with routed(places={label: APART}, events=False):
            text = finding(checks.check_routing, "E009")
            assert text == f"Database 'apart' of '{label}' gets no tables for its events: {', '.join(tables)}."
        with routed(places={label: APART}, barrier=False):
            assert checks.check_routing() == []  # it does no step


def test_e009_events_that_are_off_need_no_tables(second_database: None, heard: None) -> None:
    with routed(places={"auth": APART}, events=False):
        assert checks.check_routing() == []


@override_settings(SAGAS=EVENTS_ON)
def test_e010_a_participant_of_events_has_no_engine_tables(second_database: None, heard: None) -> None:
    with routed(places={"auth": APART}, engine_tables=True):
        assert "Database 'apart' of 'auth' would get the engine's tables" in finding(checks.check_routing, "E010")


def test_tables_of_participants_are_the_barrier_and_those_of_events() -> None:
    stored = {model._meta.model_name for model in apps.get_app_config("sagas").get_models()}
    assert stored >= PARTICIPANT_MODELS
    assert {name for name in stored if not str(name).startswith("saga")} - {"trackedevent"} == PARTICIPANT_MODELS - {
        "sagabarrier"
    }


def test_e011_a_step_done_with_the_start_shares_the_engine_s_database(second_database: None) -> None:
    declare(place=Compensatable(compensation=nothing_to_undo, participant="auth"))
    with routed(places={"auth": APART}):
        text = finding(checks.check_routing, "E011")
    assert text == (
        "Step place of saga journey@1 is done together with the start of the saga, but 'auth' is in 'apart'."
    )
    with routed(places={}):
        assert checks.check_routing() == []


def test_an_app_without_models_needs_no_database(second_database: None) -> None:
    assert list(apps.get_app_config("messages").get_models()) == []
    declare(book=step(participant="messages"))

    assert checks.check_routing() == []


def test_w002_versions_of_a_definition_come_from_one_app() -> None:
    declare(module="sagas", book=step())
    declare(module="django.contrib.auth", version=2, book=step())

    assert finding(checks.check_names, "W002") == (
        "Saga definition 'journey' has versions in several places: 'auth', 'sagas'."
    )


def test_w002_several_versions_in_one_app_are_fine() -> None:
    declare(book=step())
    declare(version=2, book=step())

    assert checks.check_names() == []


def test_e002_the_default_queue_of_celery_is_accepted(celery: Celery) -> None:
    celery.conf.task_default_queue = "two words"

    assert "Celery's task_default_queue is 'two words'" in finding(checks.check_settings, "E002")


@pytest.fixture
def celery() -> Iterator[Celery]:
    """Set the project's Celery app for a test."""
    before = current_app._get_current_object()
    app = Celery("checks")  # creating an app makes it the current one
    yield app
    before.set_current()


@pytest.mark.parametrize(
    "queues",
    [[Queue("sagas")], {"sagas": {}}, (Queue("sagas"), Queue("other")), None],
    ids=["list", "dict", "two", "none"],
)
def test_e012_celery_knows_the_queues(celery: Celery, queues: Any) -> None:
    celery.conf.task_create_missing_queues = False
    celery.conf.task_default_queue = "sagas"
    celery.conf.task_queues = queues
    assert checks.check_queues() == []
    declare(book=step(queue="airline"))

    assert finding(checks.check_queues, "E012") == (
        "Celery does not know the queue 'airline' of Step book of saga journey@1."
    )


def test_e012_the_default_queue_is_known_too(celery: Celery) -> None:
    celery.conf.task_create_missing_queues = False
    celery.conf.task_queues = [Queue("celery")]
    assert checks.check_queues() == []

    with override_settings(SAGAS={**QUIET, "DEFAULT_QUEUE": "mine"}):
        assert "SAGAS['DEFAULT_QUEUE']" in finding(checks.check_queues, "E012")
    celery.conf.task_default_queue = "other"
    assert "'other' of Celery's task_default_queue" in finding(checks.check_queues, "E012")


def test_e012_celery_may_create_missing_queues(celery: Celery) -> None:
    declare(book=step(queue="airline"))

    assert celery.conf.task_create_missing_queues
    assert checks.check_queues() == []


def test_e013_celery_s_time_limit_is_the_longest(celery: Celery) -> None:
    declare(book=step(timeout=timedelta(seconds=50)), pay=Pivot(do_nothing, participant="sagas"))
    with override_settings(SAGAS={**QUIET, "TIME_SLICE": timedelta(seconds=10)}):
        celery.conf.task_time_limit = 60
        text = finding(checks.check_timings, "E013")
        assert "task_time_limit is 60 s" in text
        assert "step book of journey@1 (50 s)" in text
        celery.conf.task_time_limit = 61
        assert checks.check_timings() == []
        celery.conf.task_time_limit = None
        assert checks.check_timings() == []


def test_e013_the_time_out_of_a_compensation_counts_too(celery: Celery) -> None:
    declare(book=step(compensation_timeout=timedelta(seconds=100)))
    celery.conf.task_time_limit = 60

    assert "(100 s)" in finding(checks.check_timings, "E013")


def test_e013_a_lease_outlasts_its_time_out() -> None:
    with override_settings(SAGAS={**QUIET, "LEASE_MARGIN": timedelta()}):
        assert "LEASE_MARGIN" in finding(checks.check_timings, "E013")
    with override_settings(SAGAS={**QUIET, "LEASE_MARGIN": timedelta(seconds=1)}):
        assert checks.check_timings() == []


@pytest.mark.parametrize(("seconds", "ids"), [(2, ["sagas.E013"]), (3, [])])
def test_e013_the_heartbeat_outlasts_the_sweep_interval(seconds: int, ids: list[str]) -> None:
    given = {"SWEEP_INTERVAL": timedelta(seconds=2), "WORKER_SEEN_WITHIN": timedelta(seconds=seconds)}
    with override_settings(SAGAS={**QUIET, **given}):
        assert [message.id for message in found(checks.check_timings)] == ids


@pytest.mark.parametrize(("minutes", "ids"), [(15, ["sagas.W003"]), (16, [])])
def test_w003_barrier_rows_outlive_a_saga(minutes: int, ids: list[str]) -> None:
    with override_settings(SAGAS={**QUIET, "BARRIER_RETENTION": timedelta(minutes=minutes)}):
        assert [message.id for message in found(checks.check_timings)] == ids


def test_retry_policy_is_not_a_duration() -> None:
    with override_settings(SAGAS={**QUIET, "RETRY": RetryPolicy(attempts=1, base=0)}):
        assert run_checks(tags=["sagas"], databases=[]) == []


@pytest.mark.django_db(databases="__all__")
class TestVersions:
    @pytest.fixture(autouse=True)
    def _trip(self, _only_known_definitions: None) -> Iterator[None]:
        with trips():
            yield

    def test_nothing_is_queried_when_no_database_is_checked(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert run_checks(tags=["sagas"], databases=[]) == []
            assert checks.check_versions(databases=["other"]) == []

    def test_all_is_well(self) -> None:
        start_trip()

        assert checks.check_versions(databases=[ENGINE]) == []

    def test_e014_a_digest_that_changed(self) -> None:
        saga = start_trip()
        Saga.objects.filter(pk=saga.pk).update(digest="0" * 64)

        text = finding(checks.check_versions, "E014", databases=[ENGINE])

        assert text.startswith("1 open saga runs on trip@1 as it was before")

    def test_w004_a_version_that_is_gone(self) -> None:
        start_trip("A")
        start_trip("B")
        registry.forget("trip", 1)

        text = finding(checks.check_versions, "W004", databases=[ENGINE])

        assert text.startswith("2 open sagas run on trip@1, which the code does not have")

    def test_closed_sagas_do_not_count(self) -> None:
        saga = completed_trip()
        Saga.objects.filter(pk=saga.pk).update(digest="0" * 64)
        registry.forget("trip", 1)

        assert checks.check_versions(databases=[ENGINE]) == []

    def test_missing_tables_are_no_finding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start_trip()
        registry.forget("trip", 1)
        monkeypatch.setattr(connections[ENGINE].introspection, "table_names", lambda: ["django_migrations"])

        assert checks.check_versions(databases=[ENGINE]) == []

    def test_w005_a_database_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> list[str]:
            raise OperationalError("connection refused")

        monkeypatch.setattr(connections[ENGINE].introspection, "table_names", fail)

        assert "OperationalError" in finding(checks.check_versions, "W005", databases=[ENGINE])
