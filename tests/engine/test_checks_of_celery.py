"""Celery settings: those that block wake-ups are findings; settings a project may well use are not."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, current_app
from django.core.checks import run_checks
from django.test import override_settings
from kombu import Exchange, Queue

from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.engine.notify import wakeup_sending
from sagas.monitoring import celery_checks, checks, timings
from sagas.worker import lifecycle
from sagas.worker.envelopes import read_envelope

from .test_checks import declare, finding, found, step, trips

SENDING = {"WAKEUP": "celery"}


@pytest.fixture(autouse=True)
def _sending() -> Iterator[None]:
    """Set up a project that sends wake-ups through Celery, with one definition whose step names a queue."""
    with trips(), override_settings(SAGAS=SENDING):
        registry.forget("trip", 1)
        declare(book=step(queue="airline"))
        yield


@pytest.fixture
def celery() -> Iterator[Celery]:
    """Set the project's only Celery app for a test."""
    before = current_app._get_current_object()
    app = Celery("checks")
    app.set_default()
    yield app
    before.set_current()
    before.set_default()


def configure(celery: Celery, **values: Any) -> None:
    celery.conf.update(**values)


@pytest.mark.parametrize("accepted", [["json"], ["application/json"], ["pickle", "json"], {"json"}, ("json",), None])
def test_e022_json_is_accepted_under_each_name_of_celery(celery: Celery, accepted: Any) -> None:
    configure(celery, accept_content=accepted)

    assert celery_checks.check_accepted_content() == []


@pytest.mark.parametrize(
    "accepted", [["pickle"], ["application/x-python-serialize"], ["auth"], [], "json", ["no-such-serializer"]]
)
def test_e022_a_worker_that_refuses_json_refuses_every_wakeup(celery: Celery, accepted: Any) -> None:
    configure(celery, accept_content=accepted)

    assert finding(celery_checks.check_accepted_content, "E022") == (
        f"Celery's accept_content is {accepted!r}: workers refuse every wake-up, which is JSON."
    )
    with override_settings(SAGAS={"WAKEUP": "none"}):
        assert celery_checks.check_accepted_content() == []


@pytest.mark.parametrize("name", ["CELERY_ACCEPT_CONTENT", "accept_content"])
def test_e022_old_and_new_names_of_the_setting_are_read(celery: Celery, name: str) -> None:
    celery.config_from_object({name: ["pickle"]})

    assert finding(celery_checks.check_accepted_content, "E022")


def test_e022_django_s_settings_are_read_under_their_namespace(celery: Celery) -> None:
    celery.config_from_object("django.conf:settings", namespace="CELERY")
    assert celery_checks.check_accepted_content() == []

    with override_settings(CELERY_ACCEPT_CONTENT=["yaml"]):
        assert finding(celery_checks.check_accepted_content, "E022")


def test_e022_a_worker_that_refuses_json_does_not_serve(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lifecycle._can_take_wakeups()
    configure(celery, accept_content=["pickle"])
    assert not lifecycle._can_take_wakeups()


@pytest.mark.parametrize(
    "routes",
    [
        None,
        {"shop.*": {"queue": "shop"}},
        {"*": {"queue": "other"}},  # the queue that is woken takes precedence
        {"sagas.advance": "other"},
        {"sagas.advance": {"queue": "other", "priority": 3}},
        {"sagas.advance": {"exchange": "elsewhere"}},
        [lambda *_, **__: None],
    ],
    ids=["none", "others", "all", "a queue", "a queue and a priority", "an exchange alone", "a function"],
)
def test_e023_routes_that_leave_wakeups_alone_are_fine(celery: Celery, routes: Any) -> None:
    configure(celery, task_routes=routes)

    assert celery_checks.check_routes() == []


def elsewhere(*_: object, **__: object) -> dict[str, str]:
    return {"exchange": "elsewhere", "routing_key": "nowhere"}


@pytest.mark.parametrize("routes", [{"sagas.*": elsewhere()}, [elsewhere], (elsewhere,)], ids=["map", "list", "tuple"])
def test_e023_routes_that_send_wakeups_elsewhere_are_reported(celery: Celery, routes: Any) -> None:
    configure(celery, task_routes=routes)

    messages = [message.msg for message in found(celery_checks.check_routes)]
    assert messages == [
        f"Wake-ups for queue {queue!r} are sent to exchange 'elsewhere' with routing key 'nowhere' by task_routes."
        for queue in ("airline", "celery")
    ]


def test_e023_a_router_that_fails_loses_wakeups(celery: Celery) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    configure(celery, task_routes=[fail])

    assert [message.msg for message in found(celery_checks.check_routes)] == [
        f"Wake-ups for queue {queue!r} are lost: a router of task_routes raises ZeroDivisionError."
        for queue in ("airline", "celery")
    ]


def test_e023_queues_with_exchanges_of_their_own_are_fine(celery: Celery) -> None:
    topic = Exchange("sagas", type="topic")
    queues = [Queue("airline", topic, routing_key="saga.airline"), Queue("celery", Exchange("x"), routing_key="y")]
    configure(celery, task_queues=queues, task_create_missing_queues=False)
    assert celery_checks.check_routes() == []

    configure(celery, task_routes={"sagas.advance": {"routing_key": "nowhere"}})
    celery.amqp.__dict__.pop("router", None)
    celery.amqp.__dict__.pop("routes", None)
    celery.amqp._rtable = None
    assert finding(celery_checks.check_routes, "E023") == (
        "Wake-ups for queue 'airline' are sent to exchange 'sagas' with routing key 'nowhere' by task_routes."
    )


def test_e023_check_adds_no_queue_to_the_app(celery: Celery) -> None:
    celery_checks.check_routes()

    assert set(celery.amqp.queues) == {"celery"}


def test_w007_eager_celery_is_for_tests_and_development(celery: Celery) -> None:
    configure(celery, broker_url="redis://x", task_always_eager=True)

    assert finding(celery_checks.check_celery_for_production, "W007").startswith("Celery is eager:")
    # Test runs are not warned.
    assert "sagas.W007" not in {message.id for message in run_checks(tags=["sagas"])}
    assert "sagas.W007" in {message.id for message in run_checks(tags=["sagas"], include_deployment_checks=True)}


def test_w007_a_memory_broker_is_for_tests_and_development(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL")  # which Celery prefers to any setting
    configure(celery, broker_url="memory://")
    assert finding(celery_checks.check_celery_for_production, "W007").startswith("Celery's broker is in memory:")

    configure(celery, broker_url="redis://x")
    assert celery_checks.check_celery_for_production() == []


def test_w008_one_application_is_fine(celery: Celery) -> None:
    assert celery_checks.check_application() == []


def test_w008_two_applications_are_reported(celery: Celery) -> None:
    second = Celery("second")

    assert finding(celery_checks.check_application, "W008") == (
        "Two Celery applications are set up here: this thread sends wake-ups through 'second', others 'checks'."
    )
    second.set_default()
    assert celery_checks.check_application() == []


def test_w008_missing_application_is_reported(celery: Celery) -> None:
    fallback = Celery("default", fixups=[], set_as_current=True)  # created implicitly by Celery
    fallback.set_default()

    assert finding(celery_checks.check_application, "W008").startswith("No Celery application is set up here:")


@pytest.mark.parametrize(
    ("annotations", "rate"),
    [
        (None, None),
        ({"*": {"rate_limit": "1/m"}}, "1/m"),
        ({"sagas.advance": {"rate_limit": "5/s"}}, "5/s"),
        ({"*": {"rate_limit": "1/m"}, "sagas.advance": {"rate_limit": None}}, None),
        ({"shop.other": {"rate_limit": "1/m"}}, None),
        ([{"*": {"rate_limit": "1/m"}}], "1/m"),
    ],
)
def test_w009_a_rate_limit_of_the_task_is_reported(celery: Celery, annotations: Any, rate: str | None) -> None:
    configure(celery, task_annotations=annotations)

    if rate is None:
        assert celery_checks.check_rate_limit() == []
    else:
        assert finding(celery_checks.check_rate_limit, "W009") == (
            f"Celery's rate limit {rate!r} applies to sagas.advance: every step of every saga waits for it."
        )


def test_w009_the_default_rate_limit_is_reported(celery: Celery) -> None:
    configure(celery, task_default_rate_limit="10/m")
    assert finding(celery_checks.check_rate_limit, "W009")


@pytest.mark.parametrize("name", ["task_time_limit", "task_soft_time_limit"])
def test_e013_both_time_limits_of_celery_are_the_longest(celery: Celery, name: str) -> None:
    configure(celery, **{name: 20})
    assert finding(checks.check_timings, "E013").startswith(f"Celery's {name} is 20 s, but a task may take")

    own = name.removeprefix("task_")
    configure(celery, task_annotations={"sagas.advance": {own: 60}})
    celery.__dict__.pop("annotations", None)
    assert checks.check_timings() == []


SUPPORTED: dict[str, Callable[[], dict[str, Any]]] = {
    "late acknowledgement": lambda: {"task_acks_late": True, "task_reject_on_worker_lost": True},
    "results": lambda: {"task_ignore_result": False, "result_backend": "cache+memory://"},
    "results refused": lambda: {"result_accept_content": ["pickle"]},
    "pickle for others": lambda: {"task_serializer": "pickle", "accept_content": ["pickle", "json"]},
    "compression": lambda: {"task_compression": "gzip"},
    "protocol 1": lambda: {"task_protocol": 1},
    "children that change": lambda: {"worker_max_tasks_per_child": 1, "worker_max_memory_per_child": 1},
    "tracebacks": lambda: {"task_remote_tracebacks": True},
    "local time": lambda: {"enable_utc": False, "timezone": "Asia/Tokyo"},
    "eager errors": lambda: {"task_eager_propagates": True, "task_store_eager_result": True},
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_unrelated_settings_are_no_findings_and_wakeups_arrive(celery: Celery, name: str) -> None:
    """Publish a wake-up under these settings, and decode it as a worker does."""
    configure(celery, broker_url="memory://", **SUPPORTED[name]())
    ids = {message.id for message in run_checks(tags=["sagas"])}
    assert ids <= {"sagas.W001"}

    saga_id = uuid4()
    celery.tasks["sagas.advance"].apply_async(args=[str(saga_id)], queue="airline", retry=False, ignore_result=True)
    with celery.connection_for_read() as connection:
        message = connection.channel().basic_get("airline", no_ack=True)
        payload = None if "task" in message.headers else message.decode()
        found_wakeup = read_envelope(message, payload)

    assert (found_wakeup.saga_id, message.content_type) == (saga_id, "application/json")


def test_task_is_registered_without_autodiscovery(celery: Celery) -> None:
    assert "sagas.advance" in celery.tasks
    assert celery.tasks["sagas.advance"].acks_late is False


def test_checks_read_the_effective_settings() -> None:
    assert get_settings().wakeup == wakeup_sending.BY_CELERY
    assert timings.accepts_wakeups()
