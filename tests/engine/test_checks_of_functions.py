"""Functions that settings name are called as they are, or the checks say why they cannot be."""

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


async def tell_later(alert: Any) -> None:
    """Report in a loop."""


def tell_nobody() -> None:
    """Take nothing."""


def return_later(alert: Any) -> Any:
    """Return what nobody awaits."""
    return tell_later(alert)


def send(saga_id: UUID, queue: str) -> None:
    """Wake."""


async def wake_later(saga_id: UUID, queue: str) -> None:
    """Wake in a loop."""


WRONG = [
    ({"ON_ATTENTION": [f"{HERE}.tell_later"]}, "'ON_ATTENTION'", "tell_later is an async function"),
    ({"ON_ATTENTION": [f"{HERE}.tell_nobody"]}, "'ON_ATTENTION'", "cannot be called with one sagas.alerts.Alert"),
    ({"ON_ATTENTION": [f"{HERE}.World"]}, "'ON_ATTENTION'", "World is a class"),
    ({"WAKEUP": f"{HERE}.wake_later"}, "'WAKEUP'", "wake_later is an async function"),
    ({"WAKEUP": f"{HERE}.return_later"}, "'WAKEUP'", "cannot be called with a saga's id and a queue: too many"),
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
    hooks = ["sagas.alerts.send_mail", "sagas.alerts.send_webhook", f"{HERE}.return_later"]
    with override_settings(SAGAS={"WAKEUP": f"{HERE}.send", "ON_ATTENTION": hooks}):
        assert check_functions() == []


def test_functions_that_are_not_there_are_left_to_their_own_checks() -> None:
    settings = {"WAKEUP": "no.such.bell", "ON_ATTENTION": ["no.such.hook", f"{HERE}.QUIET"]}
    with override_settings(SAGAS=settings):
        assert check_functions() == []


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_alert_hook_that_returns_a_coroutine_has_failed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.will("a", Misconfigured("no key"))
    alert_dispatch._queue.forget()
    with (
        override_settings(SAGAS={"WAKEUP": QUIET, "ON_ATTENTION": [f"{HERE}.return_later"]}),
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
