"""System checks of events: each mistake is found, and named by its id."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks

from sagas.events import declaration, event, handlers, on, transports
from sagas.monitoring import event_checks

from . import world
from .world import Paid


class RefusingRouter:
    """Router that knows no table of events."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_: Any) -> bool | None:
        """Refuse the inbox."""
        return False if model_name == "inboxevent" else None


Check = Callable[[], list[CheckMessage]]


@pytest.fixture(autouse=True)
def _events(event_settings: Any) -> None:
    """Turn events on."""


def ids(check: Check) -> list[str]:
    """Return the ids of errors that a check finds, without what is only information."""
    return [str(message.id) for message in check() if message.is_serious()]


def one(check: Check) -> CheckMessage:
    """Return the one error that a check finds."""
    [found] = [message for message in check() if message.is_serious()]
    assert found.hint
    return found


@contextmanager
def declared(**options: Any) -> Iterator[type]:
    """Declare an event inside the block."""

    @event("TestLost", **options)
    class Lost:
        text: str

    try:
        yield Lost
    finally:
        declaration.forget(Lost)


@contextmanager
def handled(event_class: type, **options: Any) -> Iterator[None]:
    """Register a handler inside the block."""

    @on(event_class, **options)
    def lose(lost: Any) -> None: ...

    try:
        yield
    finally:
        handlers.forget(lose)


CHECKS: list[Check] = [
    event_checks.check_event_settings, event_checks.check_transport, event_checks.check_catalogue,
    event_checks.check_event_topics, event_checks.check_event_databases,
]  # fmt: skip


def test_right_set_up_has_no_errors() -> None:
    assert [ids(check) for check in CHECKS] == [[], [], [], [], []]


def test_checks_are_silent_while_events_are_off(settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {"PARTICIPANTS": ["nobody"], "BARE_TOPICS": ["nothing"]}}
    with declared():
        assert [check() for check in CHECKS] == [[], [], [], [], []]


@pytest.mark.parametrize("given", [{"URLS": ""}, {"RETRY": 3}, {"LAYOUT": "flat"}, {"RESENDS_MAX": 0}])
def test_unreadable_settings_are_an_error(event_settings: Any, given: dict[str, Any]) -> None:
    event_settings(**given)
    assert one(event_checks.check_event_settings).id == "sagas.E028"
    assert [ids(check) for check in CHECKS[1:]] == [[], [], [], []]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"HANDLER_TIMEOUT": timedelta()}, "['HANDLER_TIMEOUT'] is not longer than 0"),
        ({"RELAY_INTERVAL": timedelta(seconds=-1)}, "['RELAY_INTERVAL'] is not longer than 0"),
        ({"RETENTION": timedelta(days=6)}, "RETENTION'] is shorter than TOPIC_RETENTION"),
        ({"RESEND_AFTER": timedelta(days=1)}, "is not longer than the 32 days, 0:00:00 within which"),
        ({"OPTIONS": {"keep_seconds": 604_801}}, "Topics keep messages for 604801 s"),
    ],
)
def test_values_that_cannot_work_are_errors(event_settings: Any, given: dict[str, Any], what: str) -> None:
    event_settings(**given)
    found = one(event_checks.check_event_settings)
    assert (found.id, what in found.msg) == ("sagas.E035", True)


def test_unknown_broker_is_an_error(event_settings: Any) -> None:
    event_settings(URL="carrier-pigeon://roof")
    found = one(event_checks.check_transport)
    assert (found.id, "'carrier-pigeon'" in found.msg) == ("sagas.E029", True)


def test_missing_client_is_an_error(event_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transports.MODULES, "redis", "no_such_client")
    event_settings(URL="redis://127.0.0.1:1/0")
    assert one(event_checks.check_transport).id == "sagas.E029"


def test_missing_package_of_cloudevents_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "has_package", lambda: False)
    found = one(event_checks.check_transport)
    assert (found.id, "cloudevents" in found.msg) == ("sagas.E029", True)


def test_broker_of_one_process_is_an_error_in_production_only(event_settings: Any) -> None:
    assert "sagas.E036" not in {message.id for message in run_checks(tags=["sagas"], databases=[])}
    found = run_checks(tags=["sagas"], include_deployment_checks=True, databases=[])
    assert "sagas.E036" in {message.id for message in found}
    event_settings(URL="redis://127.0.0.1:1/0")
    assert event_checks.check_memory_transport() == []


@pytest.mark.parametrize(
    ("consumer", "what"), [("nobody", "names 'nobody', which is no app"), ("", "is in no installed app")]
)
def test_handler_of_no_app_is_an_error(consumer: str, what: str) -> None:
    with handled(Paid, consumer=consumer):
        found = one(event_checks.check_catalogue)
    assert (found.id, what in found.msg) == ("sagas.E030", True)


def test_two_handlers_of_one_event_are_an_error() -> None:
    with handled(Paid, consumer=world.CONSUMER):
        found = one(event_checks.check_catalogue)
    assert (found.id, "inventory handles TestPaid twice" in found.msg) == ("sagas.E031", True)


@pytest.mark.parametrize(
    ("sender", "what"), [("nobody", "names 'nobody', which is no app"), ("", "is declared in no installed app")]
)
def test_event_without_a_sender_is_an_error(sender: str, what: str) -> None:
    with declared(sender=sender):
        found = one(event_checks.check_catalogue)
    assert (found.id, what in found.msg) == ("sagas.E032", True)


def test_event_of_a_foreign_service_that_is_handled_here_is_right() -> None:
    with declared(sender="billing") as lost, handled(lost, consumer=world.CONSUMER):
        assert ids(event_checks.check_catalogue) == []


def test_event_that_no_participant_handles_is_information() -> None:
    with declared(sender=world.SENDER):
        found = [message for message in event_checks.check_catalogue() if "TestLost" in message.msg]
    assert [(message.id, message.is_serious()) for message in found] == [("sagas.I001", False)]


@pytest.mark.parametrize(("topic", "layout"), [("tests", "flow"), ("nothing", "type")])
def test_bare_topic_that_does_not_carry_one_event_is_an_error(event_settings: Any, topic: str, layout: str) -> None:
    event_settings(BARE_TOPICS=[topic], LAYOUT=layout)
    assert one(event_checks.check_event_topics).id == "sagas.E034"


def test_bare_topic_of_one_event_is_right(event_settings: Any) -> None:
    event_settings(BARE_TOPICS=["TestPaid"], LAYOUT="type")
    assert event_checks.check_event_topics() == []


def test_participant_that_is_no_app_is_an_error(event_settings: Any) -> None:
    event_settings(PARTICIPANTS=["nobody"])
    assert one(event_checks.check_event_databases).id == "sagas.E037"


def test_participant_without_tables_is_an_error(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [RefusingRouter(), *settings.DATABASE_ROUTERS]
    found = event_checks.check_event_databases()
    assert {message.id for message in found} == {"sagas.E033"}
    assert any("'inventory'" in message.msg for message in found)
