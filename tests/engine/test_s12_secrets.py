"""S12: secrets are refused where a step would need them, and masked wherever they would be stored."""

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sagas import InputRefused, Misconfigured, OutcomeUnknown, RetryLater
from sagas.conf import get_settings
from sagas.core.states import Direction
from sagas.exceptions import BadRequest
from sagas.models import Saga, SagaBarrier, SagaHistory
from sagas.monitoring import checks
from sagas.operators import operations
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.transcript import render
from sagas.testing import drain
from sagas.testing.drain import read

from .world import COMPENSATION, OPERATOR, Broken, CannotUndo, Refused, World, attempts, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")

CARD, KEY = "4111111111111111", "sk_live_51Hq0abcdef"
HUSH = f"card {CARD}, key {KEY}, password=hush-hush, Bearer abcdef0123456789"
SHOWN = "card [redacted: card number], key [redacted: api key], password=[redacted: secret], Bearer [redacted: token]"
SECRETS = (CARD, KEY, "hush-hush", "abcdef0123456789")
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"


def find_leaks() -> list[str]:
    """Find the secrets in every row of every table of every database."""
    found = []
    for alias in connections:
        with connections[alias].cursor() as cursor:
            cursor.execute(TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" AS t')  # noqa: S608 - its own tables
                found += [f"{alias}.{table}" for (row,) in cursor.fetchall() if any(s in row for s in SECRETS)]
    return found


@dataclass(frozen=True)
class Facts:
    """Free texts."""

    note: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    number: int = 0


@pytest.mark.parametrize(
    ("given", "places"),
    [
        (Facts(note=HUSH), "note (card number), note (api key), note (secret), note (token)"),
        (Facts(facts={"client_secret": "x"}), "facts.client_secret (secret)"),
        (Facts(note="4111.1111.1111.1111"), "note (card number)"),
        (Facts(facts={"passcode": "x", "shipping": "x"}), "facts.passcode (secret)"),
        (Facts(facts={"password_length": "hunter2"}), "facts.password_length (secret)"),
        (Facts(facts={"name": "pin", "value": "x1"}), "facts.value (secret)"),
        (Facts(facts={"apiKey": "x"}), "facts.apiKey (secret)"),
        (Facts(facts={CARD: "x"}), "facts.[redacted: card number] (card number)"),
        (Facts(number=int(CARD)), "number (card number)"),
    ],
)
def test_input_with_a_secret_is_refused_with_its_location(given: Facts, places: str) -> None:
    with pytest.raises(InputRefused) as caught:
        World().begin(input=Facts, given=given, a=World().compensatable())

    assert str(caught.value) == (
        f"The input holds what looks like a secret: {places}. Pass a reference instead. If it is not a"
        " secret, add the key to SAGAS['REDACT_EXCEPT']."
    )
    assert not Saga.objects.exists()


def test_input_is_never_altered(world: World) -> None:
    given = Facts(note="order 4111111111111112", facts={"tokens_left": "3"}, number=41)

    saga = drain(world.begin(input=Facts, given=given, a=world.compensatable()))

    assert world.calls[0].input == given
    assert saga.input == {"note": "order 4111111111111112", "facts": {"tokens_left": "3"}, "number": 41}


def test_excepted_name_is_stored_unmasked(world: World) -> None:
    with override_settings(SAGAS={"WAKEUP": "none", "REDACT_EXCEPT": ["receipt", "key_token"]}):
        world.will("a", {"receipt": CARD, "key_token": "x", "other_token": "x"})
        saga = drain(world.begin(input=Facts, given=Facts(facts={"receipt": CARD}), a=world.compensatable()))

    assert saga.input["facts"] == {"receipt": CARD}
    assert step_of(saga, "a").result == {"receipt": CARD, "key_token": "x", "other_token": "[redacted: secret]"}


def test_masked_business_keys_and_actor_fit_their_columns() -> None:
    steps = {"a": World().compensatable()}
    World().begin(**steps, keys={"order": "x" * 104 + f" {CARD}"[:16], "customer": CARD})
    saga = World().begin(**steps, keys={"card": f"{CARD} {'y' * 100}", "token": "abc"})

    keys = dict(saga.keys.values_list("name", "value"))
    assert keys == {"card": f"[redacted: card number] {'y' * 96}", "token": "[redacted: secret]"}
    assert find_leaks() == []


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("participant", [None, "inventory"])
@pytest.mark.parametrize(
    "error",
    [Refused(HUSH), RetryLater(HUSH, after=60), OutcomeUnknown(HUSH), Misconfigured(HUSH), Broken(HUSH)],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_masked_wherever_they_are_stored(
    world: World, inventory_alias: str, error: Exception, participant: str | None, external: bool
) -> None:
    error.__cause__ = Broken({"authorization": f"Bearer {KEY}"})
    world.will("b", error)
    saga = work(
        world.begin(a=world.compensatable(), b=world.compensatable(participant, external=external), c=world.pivot())
    )

    [attempt] = attempts(saga, "b")
    assert attempt.message == SHOWN
    assert "Broken" in attempt.traceback or isinstance(error, Refused)
    assert step_of(saga, "b").last_error.endswith(SHOWN) or saga.state == "compensated"
    assert find_leaks() == []
    assert not any(secret in render(saga.pk) for secret in SECRETS)


def test_secret_at_the_truncation_of_a_long_error_is_masked(world: World) -> None:
    for pad in range(980, 1000):
        world.will("a", RetryLater("x" * pad + f" {CARD} " + "y" * 5_000))
    saga = world.begin(a=world.compensatable())
    for _ in range(4):
        work(saga)

    for attempt in attempts(saga, "a"):
        assert len(attempt.message) <= 2_000
        assert "4111" not in attempt.message


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("participant", [None, "inventory"])
def test_result_is_masked_before_it_is_stored(
    world: World, inventory_alias: str, caplog: pytest.LogCaptureFixture, participant: str | None, external: bool
) -> None:
    world.will("a", {"payment": "P-1", "client_secret": "hush-hush", "raw": {"number": int(CARD), "note": [HUSH]}})
    with caplog.at_level(logging.WARNING, "sagas.engine.execute"):
        saga = drain(world.begin(a=world.compensatable(participant, external=external), b=world.compensatable()))

    masked = {
        "payment": "P-1",
        "client_secret": "[redacted: secret]",
        "raw": {"number": "[redacted: card number]", "note": [SHOWN]},
    }
    assert (saga.state, step_of(saga, "a").result) == ("completed", masked)
    if participant is not None:
        rows = SagaBarrier.objects.using(inventory_alias).filter(key=f"{saga.pk}:a")
        assert [row.result for row in rows] == [masked]
    assert find_leaks() == []
    [record] = [record for record in caplog.records if record.name == "sagas.engine.execute"]
    assert record.step == "a"  # type: ignore[attr-defined]
    assert "client_secret (secret)" in record.places  # type: ignore[attr-defined]
    assert not any(secret in str(vars(record)) for secret in SECRETS)


@pytest.mark.parametrize(
    "reads",
    [
        lambda result: result["client_secret"],
        lambda result: result.get("client_secret"),
        dict,
        lambda result: {**result},
        lambda result: result | {},
        lambda result: list(result.values()),
        lambda result: list(result.items()),
        lambda result: result.copy()["client_secret"],
        lambda result: result.pop("client_secret"),
        lambda result: result["deep"]["note"],
    ],
)
def test_reading_a_masked_value_holds_the_saga(world: World, reads: Any) -> None:
    world.will("a", {"payment": "P-1", "client_secret": "hush-hush", "deep": {"n": 1, "note": HUSH}})
    world.will("b", lambda step, proceed: reads(step.results["a"]))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(external=True), c=world.pivot()))

    step = step_of(saga, "b")
    assert (step.state, step.hold, saga.state) == ("unknown", "misconfigured", "running")
    assert step.last_error.startswith("sagas.exceptions.ResultRedacted: ")
    assert attempts(saga, "b")[0].effect == "maybe"
    assert "return a reference" in step.last_error
    assert world.called("c") == 0


def test_unmasked_part_of_a_result_can_be_read(world: World) -> None:
    seen: list[Any] = []

    def look(step: Any, proceed: Any) -> None:
        result = step.results["a"]
        seen.extend(
            [result["payment"], result.get("missing", 7), result["deep"]["n"], len(result), "b" in step.results]
        )

    world.will("a", {"payment": "P-1", "token": "hush-hush", "deep": {"n": 1, "token": "x"}})
    world.will("b", look)

    assert drain(world.begin(a=world.compensatable(), b=world.compensatable())).state == "completed"
    assert seen == ["P-1", 7, 1, 3, False]


def test_local_step_that_reads_a_mask_has_no_effect(world: World) -> None:
    def act(step: Any, proceed: Any) -> None:
        proceed()
        step.results["a"]["token"]

    world.will("a", {"token": "hush-hush"})
    world.will("b", act)
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable()))

    assert (step_of(saga, "b").hold, attempts(saga, "b")[0].effect) == ("misconfigured", "none")
    assert world.count(saga, "b") == 0


def test_compensation_that_reads_a_mask_is_held(world: World) -> None:
    world.will("a", {"token": "hush-hush"})
    world.will("b", Refused("no"))
    world.will("a", lambda step, proceed: step.results["a"]["token"], direction=COMPENSATION)
    saga = work(world.begin(a=world.compensatable(external=True), b=world.compensatable()))

    assert (saga.state, step_of(saga, "a").state, step_of(saga, "a").hold) == (
        "compensating", "compensating", "misconfigured",
    )  # fmt: skip


def test_input_of_operators_is_masked(world: World) -> None:
    world.will("b", OutcomeUnknown("?"), OutcomeUnknown("?"), OutcomeUnknown("?"), OutcomeUnknown("?"))
    saga = world.begin(a=world.compensatable(), b=world.compensatable(external=True), c=world.pivot())
    work(saga)
    operations.pause(saga.pk, actor=OPERATOR, reason=HUSH)
    operations.resume(saga.pk, actor=OPERATOR, reason=HUSH)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=HUSH, evidence=HUSH, step="b")

    logged = SagaHistory.objects.filter(saga=saga, what="operator_acted").order_by("number")
    assert [entry.reason for entry in logged] == [SHOWN] * 3
    assert logged[2].data["evidence"] == SHOWN
    assert attempts(saga, "b")[-1].message == SHOWN
    assert find_leaks() == []


@pytest.mark.parametrize("operation", [operations.force_compensate, operations.cancel, operations.abandon])
def test_reason_full_of_secrets_fits_every_column(world: World, operation: Any) -> None:
    reason = " ".join([CARD] * 29)
    world.will("b", RetryLater("wait", after=60))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.pivot()))

    operation(saga.pk, actor=OPERATOR, reason=reason)

    assert find_leaks() == []
    stored = read(saga.pk)
    assert len(stored.abort_reason) <= 500
    assert "[redacted: card number]" in events(saga, "operator_acted")[0].reason
    assert states(saga)["c"] == "pending"


@pytest.mark.parametrize("operation", [operations.skip_step, operations.mark_succeeded])
def test_result_from_an_operator_with_a_secret_is_refused(world: World, operation: Any) -> None:
    world.will("a", OutcomeUnknown("?") if operation is operations.mark_succeeded else RetryLater("wait", after=60))
    saga = work(world.begin(a=world.compensatable(external=True), b=world.compensatable()))
    evidence = {"evidence": "I saw it there."} if operation is operations.mark_succeeded else {}

    with pytest.raises(BadRequest, match=r"The result holds what looks like a secret: card_number \(secret\)"):
        operation(
            saga.pk, actor=OPERATOR, reason="because I say so", step="a", result={"card_number": CARD}, **evidence
        )

    assert events(saga, "operator_acted") == []
    assert find_leaks() == []


def test_bulk_stores_no_secret(world: World) -> None:
    world.will("a", RetryLater("wait", after=60))
    work(world.begin(a=world.compensatable(), b=world.compensatable()))
    frozen = freezing.freeze_matching(
        Operation.RETRY, Saga.objects.all(), actor=OPERATOR, filter={"search": CARD}, words=f"found by {CARD}"
    )
    freezing.start_bulk(frozen.pk, actor=OPERATOR, reason=HUSH)

    assert find_leaks() == []


def test_late_answers_and_effects_left_behind_are_masked(world: World) -> None:
    world.will("a", {"token": "hush-hush"})
    world.will("b", Refused(HUSH))
    world.will("a", CannotUndo(HUSH), direction=COMPENSATION)
    saga = work(world.begin(a=world.compensatable(external=True), b=world.compensatable()))
    operations.abandon(saga.pk, actor=OPERATOR, reason=HUSH)

    stored = read(saga.pk)
    assert stored.effects_left[0]["result"] == {"token": "[redacted: secret]"}
    assert stored.cause["message"] == SHOWN
    assert attempts(saga, "a", Direction.COMPENSATION)[0].message == SHOWN
    assert find_leaks() == []


BAD_SETTINGS = [{"REDACT_PATTERNS": {"kind": "("}}, {"REDACT_KEYS": ["a b"]}, {"REDACT_EXCEPT": [""]}]


@pytest.mark.parametrize("bad", BAD_SETTINGS)
def test_invalid_settings_are_reported_by_a_check(bad: dict[str, Any]) -> None:
    with override_settings(SAGAS=bad):
        [message] = checks.check_redaction()

    assert (message.id, message.hint[:14]) == ("sagas.E015", "Change SAGAS['")


def test_valid_settings_pass_the_check() -> None:
    with override_settings(SAGAS={"REDACT_KEYS": ["loyalty_pin"], "REDACT_PATTERNS": {"badge": r"BDG-\d{8}"}}):
        assert checks.check_redaction() == []
        assert get_settings().redactor.redact_text("BDG-12345678, loyalty_pin=5") == (
            "[redacted: badge], loyalty_pin=[redacted: secret]"
        )
