"""``saga_explore``: its findings about the checkout, and its exit codes."""

import contextlib
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils.module_loading import autodiscover_modules

from sagas.core.definition import registry
from sagas.management.commands import saga_explore
from sagas.testing import Scenario, assert_explored
from sagas.testing.scenario import _scenarios, get_scenario
from tests.engine import test_explorer as gallery

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

# Faults that need an operator's decision; everything else ends by itself.
FOR_A_PERSON = {
    ("capture_payment", "action", "answer lost forever"),
    ("capture_payment", "action", "no answer, not done, forever"),
    *((step, "compensation", "refused") for step in ("place_order", "reserve_stock", "authorize_payment")),
    *(
        (step, "compensation", "keeps failing")
        for step in ("place_order", "reserve_stock", "authorize_payment", "book_shipment")
    ),
}  # fmt: skip


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scenario]:
    """Register a small scenario, and explore it on the databases of the test run."""
    monkeypatch.setattr(saga_explore, "_test_databases", contextlib.nullcontext)
    gallery.airline.__init__()  # type: ignore[misc]
    with registry.preserved():
        scenario = gallery.make_scenario()
        monkeypatch.setitem(_scenarios, scenario.definition.name, scenario)
        yield scenario


def call(*words: str) -> str:
    out = StringIO()
    call_command("saga_explore", *words, stdout=out, stderr=StringIO(), skip_checks=True)
    return out.getvalue()


@pytest.mark.full
def test_any_single_fault_of_a_checkout_ends_as_documented() -> None:
    autodiscover_modules("saga_scenarios")

    exploration = assert_explored(get_scenario("checkout"))

    assert exploration.baseline["captures"] == 1
    assert len(exploration.verdicts) >= 120
    open_ends = {
        (verdict.trial.step, verdict.trial.direction.value, verdict.trial.fault)
        for verdict in exploration.verdicts
        if not verdict.end.startswith(("completed", "compensated"))
    }
    assert open_ends == FOR_A_PERSON
    assert all(verdict.effects["captures"] <= 1 for verdict in exploration.verdicts)


def test_correct_definition_exits_with_0(sound: Scenario) -> None:
    assert " 0 wrong, " in call(sound.definition.name)
    rows: list[dict[str, Any]] = json.loads(call(sound.definition.name, "--json"))
    assert all(row["is_right"] or not row["was_possible"] for row in rows)


def test_incorrect_definition_exits_with_1_and_the_fault(sound: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry.preserved():
        wrong = gallery.make_scenario(compensation=gallery.forget_to_drop)
        monkeypatch.setitem(_scenarios, wrong.definition.name, wrong)
        out = StringIO()
        with pytest.raises(CommandError, match="ended wrong") as caught:
            call_command("saga_explore", wrong.definition.name, stdout=out, stderr=StringIO(), skip_checks=True)

    assert caught.value.returncode == 1
    assert "Shortest counterexample" in out.getvalue()
    assert "compensated, but seats held 1 is left" in out.getvalue()


def test_definition_without_a_scenario_exits_with_1() -> None:
    with pytest.raises(CommandError, match="No scenario for 'trip'") as caught:
        call("trip")

    assert caught.value.returncode == 1
