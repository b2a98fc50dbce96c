"""Operations from the command line."""

import pytest
from django.contrib.auth.models import Permission, User

from sagas import clock
from sagas.models import Saga, SagaHistory, SagaStep
from sagas.operators.actor import Actor
from sagas.operators.operations import pause
from sagas.testing import drain

from .cases import PATIENCE, REASON, WHY, completed_trip, failing_trip, read, run_command, start_trip, unknown_trip

pytestmark = pytest.mark.django_db(databases="__all__")

EVIDENCE = ("--evidence", "Capture cap_81 is in the provider's list")


def acted(saga: Saga) -> SagaHistory:
    return SagaHistory.objects.filter(saga=saga, what="operator_acted").latest("number")


def test_pause_and_resume() -> None:
    saga = start_trip()

    done = run_command("saga_pause", saga.pk, *WHY)

    assert (done.code, done.err) == (0, "")
    assert done.out == f"The saga is paused.\nSaga {saga.pk} is held, revision 2.\n"
    assert read(saga).hold == "paused"
    assert drain(saga, patience=PATIENCE).state == "pending"

    done = run_command("saga_resume", saga.pk, *WHY)

    assert done.code == 0
    assert read(saga).hold is None
    assert drain(saga, patience=PATIENCE).state == "completed"


def test_retry_makes_a_held_step_due_with_a_fresh_budget() -> None:
    saga = unknown_trip()

    done = run_command("saga_retry", saga.pk, "--step", "pay", *WHY)

    assert done.code == 0
    assert done.out.startswith("pay is due now, with a fresh budget.\n")
    step = SagaStep.objects.get(saga=saga, name="pay")
    assert (step.hold, step.budget_used) == (None, 0)
    assert step.due_at is not None
    assert drain(saga, patience=PATIENCE).state == "completed"


def test_retry_without_a_step_retries_all_waiting_steps() -> None:
    saga = failing_trip()
    assert SagaStep.objects.get(saga=saga, name="book_flight").attention == "compensation_failing"

    done = run_command("saga_retry", saga.pk, *WHY)

    assert done.code == 0
    assert drain(saga, patience=PATIENCE).state == "compensated"


def test_skip_stores_the_result_for_later_steps() -> None:
    saga = start_trip()

    done = run_command("saga_skip", saga.pk, "--step", "book_car", "--result", '{"car": "own"}', *WHY)

    assert done.code == 0
    step = SagaStep.objects.get(saga=saga, name="book_car")
    assert (step.state, step.result, step.is_assumed) == ("skipped", {"car": "own"}, True)
    assert drain(saga, patience=PATIENCE).state == "completed"


@pytest.mark.parametrize(
    ("answer", "rest", "state"),
    [("succeeded", ("--result", '{"capture": "cap_81"}'), "completed"), ("refused", (), "compensated")],
)
def test_resolve_sets_the_outcome_of_an_unknown_step(answer: str, rest: tuple[str, ...], state: str) -> None:
    saga = unknown_trip()

    done = run_command("saga_resolve", saga.pk, "--step", "pay", "--as", answer, *EVIDENCE, *rest, *WHY)

    assert done.code == 0, done
    step = SagaStep.objects.get(saga=saga, name="pay")
    assert (step.state, step.is_assumed) == (answer, True)
    assert step.result == ({"capture": "cap_81"} if rest else None)
    assert acted(saga).data["evidence"] == EVIDENCE[1]
    assert drain(saga, patience=PATIENCE).state == state


def test_resolve_marks_a_failing_compensation_as_done() -> None:
    saga = failing_trip()

    done = run_command("saga_resolve", saga.pk, "--step", "book_flight", "--as", "compensated", *EVIDENCE, *WHY)

    assert done.code == 0
    assert read(saga).state == "compensated"


@pytest.mark.parametrize("command", ["saga_compensate", "saga_cancel"])
def test_saga_starts_compensating(command: str) -> None:
    saga = start_trip()

    done = run_command(command, saga.pk, *WHY)

    assert done.code == 0
    assert drain(saga, patience=PATIENCE).state == "compensated"
    assert set(SagaStep.objects.filter(saga=saga).values_list("state", flat=True)) == {"pending"}


def test_abandon_stores_the_remaining_effects() -> None:
    saga = unknown_trip()

    done = run_command("saga_abandon", saga.pk, *WHY)

    assert done.code == 0
    assert done.out.startswith("The saga is abandoned; left behind: book_flight, book_hotel, book_car, pay.\n")
    assert [left["step"] for left in read(saga).effects_left] == ["book_flight", "book_hotel", "book_car", "pay"]


def test_operation_prints_json() -> None:
    saga = start_trip()

    done = run_command("saga_pause", saga.pk, *WHY, "--json", "--no-input")

    assert done.json == {
        "saga_id": str(saga.pk),
        "operation": "pause",
        "state": "pending",
        "display_state": "held",
        "revision": 2,
        "message": "The saga is paused.",
        "is_repeat": False,
    }


def test_repeated_operation_has_no_effect_and_succeeds() -> None:
    saga = start_trip()
    run_command("saga_pause", saga.pk, *WHY)

    done = run_command("saga_pause", saga.pk, *WHY, "--json")

    assert done.code == 0
    assert done.json["is_repeat"] is True
    assert SagaHistory.objects.filter(saga=saga, what="operator_acted").count() == 1


def test_unique_prefix_of_the_id_is_enough() -> None:
    saga = start_trip()

    assert run_command("saga_pause", str(saga.pk)[:8], *WHY).code == 0
    assert run_command("saga_resume", saga.pk.hex[:20].upper(), *WHY).code == 0
    assert read(saga).revision == 3


def test_ambiguous_prefix_is_refused_with_the_candidates() -> None:
    first, second = start_trip("A"), start_trip("B")

    done = run_command("saga_pause", str(first.pk)[:8], *WHY)

    assert done.code == 1
    assert "matches several sagas" in done.err
    assert str(first.pk) in done.err
    assert str(second.pk) in done.err
    assert not Saga.objects.filter(hold="paused").exists()


def test_refusal_exits_with_1_and_the_reason() -> None:
    saga = completed_trip()

    done = run_command("saga_compensate", saga.pk, *WHY)

    assert done.code == 1
    assert done.out == ""
    assert done.err == "CommandError: The saga is completed; no operation is possible any more.\n"
    assert read(saga).revision == saga.revision


def test_unknown_step_is_a_usage_error() -> None:
    saga = unknown_trip()

    done = run_command("saga_retry", saga.pk, "--step", "fly", *WHY)

    assert done.code == 2
    assert "This saga has no step 'fly'; it has: book_flight, book_hotel, book_car, pay, send_tickets." in done.err


def test_stale_revision_is_refused_with_the_current_state() -> None:
    saga = start_trip()
    pause(saga.pk, actor=Actor.of_command_line(), reason=REASON)

    done = run_command("saga_cancel", saga.pk, *WHY, "--revision", "1")

    assert done.code == 1
    assert f"Saga {saga.pk} is at revision 2, but the decision was based on 1" in done.err
    assert read(saga).abort_request is None


def test_current_revision_is_accepted() -> None:
    saga = start_trip()

    assert run_command("saga_cancel", saga.pk, *WHY, "--revision", "1").code == 0


def test_history_names_the_given_user_and_the_system_account() -> None:
    saga = start_trip()
    User.objects.create_superuser("grace")

    assert run_command("saga_pause", saga.pk, *WHY, "--user", "grace").code == 0

    entry = acted(saga)
    assert entry.actor == f"grace ({Actor.of_command_line().name})"
    assert entry.reason == REASON


def test_user_needs_the_permission() -> None:
    saga = start_trip()
    user = User.objects.create_user("vera")
    user.user_permissions.add(Permission.objects.get(codename="pause_saga"))

    refused = run_command("saga_cancel", saga.pk, *WHY, "--user", "vera")

    assert refused.code == 1
    assert "lacks the permission sagas.cancel_saga" in refused.err
    assert read(saga).revision == 1
    assert run_command("saga_pause", saga.pk, *WHY, "--user", "vera").code == 0


@pytest.mark.parametrize("active", [True, False])
def test_user_must_be_active(active: bool) -> None:
    saga = start_trip()
    if not active:
        User.objects.create_user("gone", is_active=False)

    done = run_command("saga_pause", saga.pk, *WHY, "--user", "gone")

    assert done.code == 2
    assert "There is no active user 'gone'" in done.err
    assert read(saga).hold is None


def test_dry_run_prints_the_preview_and_changes_nothing() -> None:
    saga = unknown_trip()
    before = SagaHistory.objects.count()

    done = run_command("saga_resolve", saga.pk, "--step", "pay", "--as", "refused", *EVIDENCE, *WHY, "--dry-run")

    assert done.code == 0
    assert done.out.startswith(f"Plan: Mark pay as refused, saga {saga.pk}, revision {saga.revision}\n")
    assert "compensation of book_flight" in done.out
    assert read(saga).revision == saga.revision
    assert SagaHistory.objects.count() == before


def test_dry_run_prints_the_preview_as_json() -> None:
    saga = unknown_trip()

    done = run_command("saga_abandon", saga.pk, *WHY, "--dry-run", "--json")

    assert done.code == 0
    assert (done.json["saga_id"], done.json["is_allowed"]) == (str(saga.pk), True)
    assert [left["step"] for left in done.json["left_behind"]] == ["book_flight", "book_hotel", "book_car", "pay"]
    assert read(saga).state == "running"


def test_dry_run_of_a_refused_operation_exits_with_1() -> None:
    saga = completed_trip()

    done = run_command("saga_cancel", saga.pk, *WHY, "--dry-run")

    assert done.code == 1
    assert "nothing would be done: The saga is completed" in done.out
    assert "The saga is completed" in done.err


def test_dry_run_on_a_stale_revision_exits_with_1() -> None:
    saga = start_trip()

    done = run_command("saga_pause", saga.pk, *WHY, "--dry-run", "--revision", "7")

    assert done.code == 1
    assert f"Saga {saga.pk} is at revision 1, not 7; the operation would be refused." in done.err


def test_dry_run_checks_the_permission() -> None:
    saga = start_trip()
    User.objects.create_user("vera")

    done = run_command("saga_cancel", saga.pk, *WHY, "--user", "vera", "--dry-run")

    assert done.code == 1
    assert "lacks the permission sagas.cancel_saga" in done.err


def test_refusal_of_a_leased_step_shows_the_lease_end() -> None:
    saga = start_trip()
    using = Saga.objects.db
    SagaStep.objects.filter(saga=saga, name="book_flight").update(
        state="running", lease_token=saga.pk, lease_until=clock.read_now(using) + PATIENCE
    )

    done = run_command("saga_abandon", saga.pk, *WHY)

    assert done.code == 1
    assert "book_flight is running, until" in done.err
    assert read(saga).state == "pending"
