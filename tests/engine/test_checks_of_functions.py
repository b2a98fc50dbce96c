"""Functions named by settings: called as they are, or reported by the checks."""

import logging
import warnings
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from sagas import Misconfigured
from sagas.engine.notify import alert_dispatch
from sagas.monitoring.function_checks import check_functions

from .world import World, work

HERE = "tests.engine.test_checks_of_functions"
QUIET = "none"


async def alert_async(alert: Any) -> None:
    """Receive an alert, asynchronously."""


def tell_nobody() -> None:
    """Take nothing."""


def return_coroutine(alert: Any) -> Any:
    """Return a coroutine that is never awaited."""
    return alert_async(alert)


def send(saga_id: UUID, queue: str) -> None:
    """Send a wake-up."""


async def send_async(saga_id: UUID, queue: str) -> None:
    """Send a wake-up, asynchronously."""


WRONG = [
    ({"ON_ATTENTION": [f"{HERE}.alert_async"]}, "'ON_ATTENTION'", "alert_async is an async function"),
    ({"ON_ATTENTION": [f"{HERE}.tell_nobody"]}, "'ON_ATTENTION'", "cannot be called with one sagas.alerts.Alert"),
    ({"ON_ATTENTION": [f"{HERE}.World"]}, "'ON_ATTENTION'", "World is a class"),
    ({"WAKEUP": f"{HERE}.send_async"}, "'WAKEUP'", "send_async is an async function"),
    ({"WAKEUP": f"{HERE}.return_coroutine"}, "'WAKEUP'", "cannot be called with a saga's id and a queue: too many"),
]


@pytest.mark.parametrize(("settings", "name", "mistake"), WRONG)
def test_function_of_the_wrong_shape_is_an_error(settings: dict[str, Any], name: str, mistake: str) -> None:
    with override_settings(SAGAS={"WAKEUP": QUIET, **settings}):
        [message] = check_functions()

    assert message.id == "sagas.E026"
    assert message.msg.startswith(f"SAGAS[{name}] names '{HERE}.")
    assert mistake in message.msg
    assert message.hint


def test_functions_of_the_right_shape_are_accepted() -> None:
    hooks = ["sagas.alerts.send_mail", "sagas.alerts.send_webhook", f"{HERE}.return_coroutine"]
    with override_settings(SAGAS={"WAKEUP": f"{HERE}.send", "ON_ATTENTION": hooks}):
        assert check_functions() == []


def test_missing_functions_are_left_to_other_checks() -> None:
    settings = {"WAKEUP": "no.such.bell", "ON_ATTENTION": ["no.such.hook", f"{HERE}.QUIET"]}
    with override_settings(SAGAS=settings):
        assert check_functions() == []


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_alert_hook_that_returns_a_coroutine_has_failed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.will("a", Misconfigured("no key"))
    alert_dispatch._queue.forget()
    with (
        override_settings(SAGAS={"WAKEUP": QUIET, "ON_ATTENTION": [f"{HERE}.return_coroutine"]}),
        caplog.at_level(logging.WARNING),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        work(world.begin(a=world.compensatable()))
        alert_dispatch.flush()

    alert_dispatch._queue.forget()
    [record] = [record for record in caplog.records if record.name == "sagas.engine.notify.alert_dispatch"]
    assert record.getMessage() == "Alert failed; trying again."
    assert "returned a coroutine, which is never run" in str(record.exc_info and record.exc_info[1])
