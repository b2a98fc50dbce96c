"""Usage errors: no argument of any command causes a traceback; invalid ones exit with 2 and a hint."""

from pathlib import Path

import pytest
from django.core.management import get_commands
from django.db import Error, InterfaceError, OperationalError
from django.db.backends.utils import CursorWrapper

from sagas.models import Saga, SagaHistory, SagaWorker

from .cases import WHY, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")

ID = "0198f3a2-5c1e-7000-8000-000000000000"
MARK = ("--step", "pay", "--as", "succeeded", "--evidence", "it is in the provider's list")
COMMANDS = (
    "event_catalogue", "event_consume", "event_discard", "event_list", "event_replay", "event_retry", "event_topics",
    "outbox_relay",
    "saga_abandon", "saga_bulk", "saga_bulk_show", "saga_bulk_stop", "saga_cancel", "saga_check_versions",
    "saga_cleanup", "saga_compensate", "saga_doctor", "saga_explore", "saga_export", "saga_graph",
    "saga_list", "saga_note", "saga_pause", "saga_remedy", "saga_resolve", "saga_resume", "saga_retry",
    "saga_show", "saga_skip", "saga_sweep", "saga_verify_log",
)  # fmt: skip
OTHER_COMMANDS = {
    "checkout_cleanup": "orders", "shop_seed": "orders", "payment_look_up": "payments", "sandbox_clear": "payments",
    "checkout_benchmark": "benchmarks", "event_benchmark": "benchmarks", "saga_generate": "benchmarks",
}  # fmt: skip
# The arguments that each needs to reach the database.
SHOP_CALLS = [
    ("checkout_cleanup",),
    ("checkout_cleanup", "--dry-run"),
    ("shop_seed", "--demo-data"),
    ("payment_look_up", f"{ID}:authorize_payment"),
    ("sandbox_clear", f"{ID}:authorize_payment"),
]
ACTIONS = [
    ("saga_retry",),
    ("saga_skip", "--step", "pay"),
    ("saga_resolve", *MARK),
    ("saga_compensate",),
    ("saga_pause",),
    ("saga_resume",),
    ("saga_cancel",),
    ("saga_abandon",),
]
WRONG_IDS = ["", "1", "0198f3a", "nonsense", f"{ID}0", "ORD-1", "0198f3a2 5c1e", "../../etc/passwd", "'; DROP TABLE x"]
WRONG_REVISIONS = ["0", "-1", "1.5", "one", "99999999999999999999", "\u0663", "NaN", ""]
WRONG_JSON = [
    "{", "[]", "1", "null", "NaN", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": ' + "1" * 5000 + "}",
    "[" * 100_000, '{"a": Infinity}', "", '{"a": ' * 600 + "1" + "}" * 600, '{"a": 1e400}', '{"a": "\\u0000"}',
    '{"a": "\\ud800"}', '{"a": "\udcff"}', '{"a": "' + "x" * 1_000_000 + '"}',
]  # fmt: skip
WRONG_AGES = [
    "", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "\u0661\u0660d", "100000d", "30d30d", "nan", "1e3d",
]  # fmt: skip
WRONG_CALLS = [
    ("event_catalogue", "surplus"),
    ("event_catalogue", "--layout", "topic"),
    ("saga_list", "--state", "stuck"),
    ("saga_list", "--definition", ""),
    ("saga_list", "--definition", "Trip'"),
    ("saga_list", "--limit", "0"),
    ("saga_list", "--limit", "1001"),
    ("saga_list", "--limit", "all"),
    ("saga_list", "--limit", "\u0663"),
    ("saga_list", "--search", "a\x00b"),
    ("saga_list", "--search", ""),
    ("saga_list", "--search", " "),
    ("saga_list", "--search", "\u200b"),
    ("saga_list", "--state", ""),
    ("saga_list", "--search", "\udcff"),
    ("saga_list", "--search", "x" * 20_000),
    ("saga_list", "surplus"),
    ("saga_list", "--atten"),
    ("saga_bulk",),
    ("saga_bulk", "abandon", "--everything"),
    ("saga_bulk", "pause", *WHY),
    ("saga_bulk", "pause", "--everything"),
    ("saga_bulk", "pause", "--everything", "--reason", "short"),
    ("saga_bulk", "pause", "--everything", "--display", "held", *WHY),
    ("saga_bulk", "pause", "--display", "nonsense", *WHY),
    ("saga_bulk", "pause", "--display", "", *WHY),
    ("saga_bulk", "pause", "--search", " ", *WHY),
    ("saga_bulk", "pause", "--definition", "X'", *WHY),
    ("saga_bulk", "pause", "--id", "1", *WHY),
    ("saga_bulk", "pause", "--id", ID, "--everything", *WHY),
    ("saga_bulk", "pause", "--everything", "--count", "-1", *WHY),
    ("saga_bulk_show", "1"),
    ("saga_bulk_stop",),
    ("saga_bulk_stop", "x"),
    ("saga_verify_log", "--saga", "1"),
    ("saga_verify_log", "--since", "1y"),
    ("saga_verify_log", "--since", "1d", "--saga", ID),
    ("saga_verify_log", "--signed-since", "yesterday"),
    ("saga_verify_log", "--signed-since", "2026-11-20T03:00:00"),
    ("saga_export", "--format", "xls"),
    ("saga_export", "--state", "stuck"),
    ("saga_export", "--search", "a\x00b"),
    ("saga_export", "--search", ""),
    ("saga_export", "--search", " \t"),
    ("saga_export", "--search", "\u3164"),
    ("saga_export", "--definition", ""),
    ("saga_export", "--state", ""),
    ("saga_export", "--format", ""),
    ("saga_bulk", "pause", "--search", "\u200b", *WHY),
    ("saga_bulk", "pause", "--definition", "", *WHY),
    ("saga_bulk", "pause", "--display", "pending", "--user", "", *WHY),
    ("saga_cleanup", "--older-than", "30d", "--archive", ""),
    ("saga_show",),
    ("saga_show", ""),
    ("saga_show", " "),
    ("saga_show", "\udcff"),
    ("saga_skip", ID, *WHY),
    ("saga_skip", ID, *WHY, "--step", ""),
    ("saga_skip", ID, *WHY, "--step", "Pay"),
    ("saga_remedy",),
    ("saga_remedy", ID, "ask_bank", "--step", "Pay"),
    ("saga_remedy", ID, "\udcff"),
    ("saga_retry", ID, *WHY, "--step", "pay\x00"),
    ("saga_retry", ID, "--reason", "\udcff because it is so"),
    ("saga_retry", ID, *WHY, "--user", "\udcff"),
    ("saga_resolve", ID, *WHY, "--step", "pay", "--as", "succeeded"),
    ("saga_resolve", ID, *WHY, "--step", "pay", "--as", "lost", "--evidence", "it is in the list"),
    ("saga_resolve", ID, *WHY, "--step", "pay", "--evidence", "it is in the list"),
    ("saga_sweep", "--interval", "0"),
    ("saga_sweep", "--interval", "-1"),
    ("saga_sweep", "--interval", "nan"),
    ("saga_sweep", "--interval", "inf"),
    ("saga_sweep", "--interval", "1e9"),
    ("saga_sweep", "--interval", "3601"),
    ("saga_sweep", "--queue", "nobody"),
    ("saga_sweep", "--queue", ""),
    ("saga_cleanup",),
    *(("saga_cleanup", "--older-than", age) for age in WRONG_AGES),
    ("saga_cleanup", "--older-than", "30d", "--batch-size", "0"),
    ("saga_cleanup", "--older-than", "30d", "--batch-size", "1001"),
    ("saga_cleanup", "--older-than", "30d", "--batch-size", "many"),
    ("saga_cleanup", "--older-than", "30d", "--state", "running"),
    ("saga_cleanup", "--older-than", "30d", "--state", "pending"),
    ("saga_cleanup", "--older-than", "30d", "--state", "abandoned"),
    ("saga_cleanup", "--older-than", "30d", "--archive", "sagas.json"),
    ("saga_cleanup", "--older-than", "30d", "--archive", ".ndjson"),
    ("saga_cleanup", "--older-than", "30d", "--archive", "a\x00.ndjson"),
    ("saga_generate",),
    *(("saga_generate", "--sagas", count) for count in ("", "0", "-1", "1e6", "many", "100000001", "\u0663")),
    ("saga_generate", "--sagas", "1", "--definition", "nothing"),
    ("saga_generate", "--sagas", "1", "--days", "0"),
    ("saga_generate", "--sagas", "1", "--days", "3651"),
    *(("saga_generate", "--sagas", "100", "--open", count) for count in ("-1", "many", "6", "")),
    ("saga_graph",),
    ("saga_graph", "nothing"),
    ("saga_graph", "trip@2"),
    ("saga_graph", "trip@"),
    ("saga_graph", "trip@x"),
    ("saga_graph", "trip", "--format", "png"),
    ("saga_check_versions", "surplus"),
    ("saga_doctor", "surplus"),
    ("saga_explore",),
    ("saga_explore", "checkout", "surplus"),
    ("event_topics",),
    ("event_topics", "--create", "--check"),
    ("event_consume", "--once", "--check"),
    ("event_consume", "--instance", "a\x00b"),
    ("event_list", "--limit", "0"),
    ("event_list", "--status", "lost"),
    ("event_list", "--key", "\udcff"),
    ("event_retry", ID, *WHY),
    ("event_retry", "a\x00b", "--consumer", "inventory", *WHY),
    ("event_discard", ID, "--consumer", "inventory"),
    ("event_replay",),
    ("event_replay", ID),
    ("outbox_relay", "surplus"),
    ("checkout_cleanup", "surplus"),
    ("checkout_cleanup", "--dry"),
    ("shop_seed", "surplus"),
    ("shop_seed", "--demo"),
    ("payment_look_up",),
    ("payment_look_up", "\udcff"),
    ("payment_look_up", "a\x00b"),
    ("sandbox_clear",),
    ("sandbox_clear", "\udcff"),
    ("sandbox_clear", "a\x00b"),
]


def test_every_documented_command_exists() -> None:
    found = get_commands()

    wanted = dict.fromkeys(COMMANDS, "sagas") | OTHER_COMMANDS
    assert {name: found.get(name) for name in wanted} == wanted


def test_every_command_is_covered() -> None:
    own = {name for name, app in get_commands().items() if app in {"sagas", *OTHER_COMMANDS.values()}}

    assert own == {*COMMANDS, *OTHER_COMMANDS}


@pytest.mark.parametrize("command", [*COMMANDS, *OTHER_COMMANDS])
def test_help_has_a_description_and_an_example(command: str) -> None:
    done = run_command(command, "--help")

    assert done.code == 0
    assert done.err == ""
    assert f"\nExample:\n  manage.py {command}" in done.out
    assert "--no-input" in done.out


@pytest.mark.parametrize("failure", [OperationalError, InterfaceError])
@pytest.mark.parametrize("call", SHOP_CALLS, ids=repr)
def test_shop_command_without_a_database_exits_with_1(
    call: tuple[str, ...], failure: type[Error], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise failure("connection refused")

    monkeypatch.setattr(CursorWrapper, "execute", fail)

    done = run_command(*call, "--no-input")

    assert (done.code, done.out) == (1, "")
    assert "The database failed: connection refused." in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("call", WRONG_CALLS, ids=repr)
def test_invalid_arguments_exit_with_2_and_change_nothing(call: tuple[str, ...], tmp_path: Path) -> None:
    saga = start_trip()

    done = run_command(*call)

    assert done.code == 2, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.strip() != ""
    assert list(Saga.objects.values_list("pk", "revision")) == [(saga.pk, 1)]
    assert SagaHistory.objects.count() == 1
    assert not SagaWorker.objects.exists()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
@pytest.mark.parametrize("given", WRONG_IDS)
def test_malformed_id_exits_with_2(action: tuple[str, ...], given: str) -> None:
    name, *rest = action
    done = run_command(name, given, *rest, *WHY)

    assert done.code == 2
    assert "is not a saga id" in done.err
    assert "first 8 characters" in done.err


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
def test_unknown_id_exits_with_1(action: tuple[str, ...]) -> None:
    name, *rest = action
    done = run_command(name, ID, *rest, *WHY)

    assert done.code == 1
    assert done.out == ""
    assert f"There is no saga with the id '{ID}'" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
@pytest.mark.parametrize("reason", [(), ("--reason", ""), ("--reason", "too short"), ("--reason", "x" * 501)])
def test_reason_is_required_and_must_not_be_blank(action: tuple[str, ...], reason: tuple[str, ...]) -> None:
    saga = start_trip()
    name, *rest = action

    done = run_command(name, saga.pk, *rest, *reason)

    assert done.code == 2
    assert "reason" in done.err
    assert Saga.objects.get().revision == 1
    assert SagaHistory.objects.count() == 1


@pytest.mark.parametrize("revision", WRONG_REVISIONS)
def test_revision_must_be_an_integer(revision: str) -> None:
    done = run_command("saga_pause", ID, *WHY, f"--revision={revision}")

    assert done.code == 2
    assert "is not a whole number from 1" in done.err


@pytest.mark.parametrize("given", WRONG_JSON, ids=range(len(WRONG_JSON)))
@pytest.mark.parametrize("command", ["saga_skip", "saga_resolve"])
def test_result_must_be_a_json_object(command: str, given: str) -> None:
    mark = MARK if command == "saga_resolve" else MARK[:2]
    done = run_command(command, ID, *WHY, *mark, f"--result={given}")

    assert done.code == 2
    assert "JSON" in done.err or "longer than" in done.err
    assert "Traceback" not in done.err


def test_result_is_accepted_for_success_only() -> None:
    done = run_command(
        "saga_resolve", ID, *WHY, "--step", "pay", "--as", "refused", "--evidence", "not in the list", "--result", "{}"
    )

    assert done.code == 2
    assert "only allowed with --as succeeded" in done.err
