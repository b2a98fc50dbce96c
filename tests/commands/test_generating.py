"""Generated sagas look as if written by the engine and never run."""

import json
from collections import Counter
from datetime import timedelta

import pytest

from benchmarks import generating
from benchmarks.generating import Mass, draw_patterns, generate
from sagas import clock
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.core.states import SagaState
from sagas.exceptions import BadRequest
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from sagas.testing import find_violations
from sagas.worker import sweeper

from .cases import completed_trip, run_command

# Enough to have one of each pattern.
SAGAS = 1_500
SOME_CLOSED = 60

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("_patterns_drawn_once")]


@pytest.fixture(scope="module")
def drawn() -> dict[object, list[generating.Pattern]]:
    """Keep the patterns of each set of definitions."""
    return {}


@pytest.fixture
def _patterns_drawn_once(monkeypatch: pytest.MonkeyPatch, drawn: dict[object, list[generating.Pattern]]) -> None:
    """Draw patterns again only for other definitions; how they are drawn has tests of its own."""

    def draw_once(mass: Mass) -> list[generating.Pattern]:
        kind = (*mass.definitions, mass.is_due)
        if kind not in drawn:
            drawn[kind] = draw_patterns(mass)
        return drawn[kind]

    monkeypatch.setattr(generating, "draw_patterns", draw_once)


def test_generated_sagas_are_of_every_state_and_violate_nothing() -> None:
    written = generate(Mass(sagas=SAGAS, definitions=registry.all_definitions()))

    assert (written.sagas, written.is_stopped) == (SAGAS, False)
    assert written.sagas == Saga.objects.count()
    assert written.steps == SagaStep.objects.count()
    assert written.attempts == SagaAttempt.objects.count()
    assert written.history == SagaHistory.objects.count() > 10 * SAGAS
    states = Counter(Saga.objects.values_list("state", flat=True))
    assert {"completed", "compensated", "abandoned", "running", "compensating"} <= set(states)
    assert states["completed"] > states["compensated"] > states["running"]
    sagas = [*Saga.objects.filter(closed_at=None), *Saga.objects.exclude(closed_at=None)[:SOME_CLOSED]]
    assert {saga.pk: found for saga in sagas if (found := find_violations(saga.pk))} == {}
    assert SagaKey.objects.filter(name="reference").values("value").distinct().count() == SAGAS
    assert all(saga.input == {"order_number": key_of(saga)} for saga in sagas if saga.definition == "checkout")


def test_patterns_come_from_the_engine_and_leave_no_rows() -> None:
    patterns = draw_patterns(Mass(sagas=1, definitions=registry.all_definitions()))

    assert {pattern.sagas[0]["state"] for pattern in patterns} == {state.value for state in SagaState}
    holds = {row["hold"] for pattern in patterns for row in (*pattern.sagas, *pattern.steps)}
    assert {"paused", "outcome_unknown", "misconfigured", "compensation_refused", "contract_violation"} <= holds
    attention = {reason for pattern in patterns for reason in pattern.sagas[0]["attention"]}
    assert attention == {"retries_exhausted", "compensation_failing", "overdue"}
    assert Saga.objects.count() == 0
    assert clock.shift_seconds() == 0


def test_every_pattern_occurs_however_rare() -> None:
    mass = Mass(sagas=SAGAS, definitions=[registry.latest("trip")])
    patterns = draw_patterns(mass)

    generate(mass)

    newest = Saga.objects.order_by("-created_at")[: len(patterns)]
    wanted = [(pattern.sagas[0]["state"], pattern.sagas[0]["hold"]) for pattern in patterns]
    assert [(saga.state, saga.hold) for saga in newest] == wanted
    assert len(patterns) < SAGAS / 20


@pytest.mark.parametrize(("wanted", "fewest", "most"), [(0, 0, 0), (60, 45, 96)])
def test_number_of_open_sagas_is_about_the_requested_one(wanted: int, fewest: int, most: int) -> None:
    generate(Mass(sagas=SAGAS, definitions=[registry.latest("trip")], open=wanted))

    assert fewest <= Saga.objects.filter(closed_at=None).count() <= most
    assert Saga.objects.count() == SAGAS


def test_more_open_sagas_than_sagas_are_refused() -> None:
    with pytest.raises(BadRequest, match="At most 75 of 1500 sagas can be open, not 76"):
        generate(Mass(sagas=SAGAS, definitions=[registry.latest("trip")], open=76))
    assert Saga.objects.count() == 0


def test_open_sagas_are_never_claimed() -> None:
    generate(Mass(sagas=SAGAS, definitions=[registry.latest("trip")]))
    clock.move(timedelta(days=365))

    assert sweeper.claim_due(limit=SAGAS) == []
    assert Saga.objects.filter(closed_at=None).exclude(due_at=None).count() > 0


def test_due_sagas_are_claimed_if_requested() -> None:
    generate(Mass(sagas=SAGAS, definitions=[registry.latest("trip")], is_due=True))

    found = sweeper.claim_due(limit=SAGAS)

    now = clock.read_now(get_settings().database)
    assert (
        {saga.id for saga in found} == set(Saga.objects.filter(due_at__lte=now).values_list("pk", flat=True)) != set()
    )


def test_command_adds_to_earlier_generated_sagas() -> None:
    first = run_command("saga_generate", "--sagas", "40", "--definition", "trip", "--days", "7", "--verbosity", "0")
    second = run_command("saga_generate", "--sagas", "2", "--definition", "trip", "--json")

    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("Wrote 40 sagas with 200 steps, ")
    assert json.loads(second.out)["sagas"] == 2
    assert set(Saga.objects.values_list("definition", flat=True)) == {"trip"}
    keys = SagaKey.objects.filter(name="reference").order_by("value").values_list("value", flat=True)
    assert list(keys) == [f"GEN-{number:08X}" for number in range(1, 43)]
    oldest = Saga.objects.order_by("created_at")[0].created_at
    assert oldest > clock.read_now(get_settings().database) - timedelta(days=365, hours=1, minutes=1)


def test_command_refuses_to_write_among_real_sagas_unless_forced() -> None:
    real = completed_trip("A")

    refused = run_command("saga_generate", "--sagas", "5")

    assert refused.code == 1
    assert "This database holds sagas that saga_generate did not write" in refused.err
    assert list(Saga.objects.values_list("pk", flat=True)) == [real.pk]

    assert run_command("saga_generate", "--sagas", "5", "--among-others", "--definition", "trip").code == 0
    assert Saga.objects.count() == 6


def key_of(saga: Saga) -> str:
    """Return a saga's own business key."""
    return str(saga.keys.get(name="reference").value)
