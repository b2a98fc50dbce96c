"""Bulks by command: ``saga_bulk``, ``saga_bulk_show`` and ``saga_bulk_stop``."""

import pytest
from django.contrib.auth.models import Permission, User

from sagas.models import Saga, SagaBulk, SagaHistory
from sagas.operators.bulk import runner
from sagas.operators.bulk.documents import describe_bulk
from sagas.operators.bulk.preconditions import EVERYTHING

from .cases import REASON, WHY, completed_trip, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")


def operations() -> list[str]:
    return list(SagaHistory.objects.filter(what="operator_acted").values_list("to_state", flat=True))


def test_matches_of_a_filter_are_counted_then_operated_on() -> None:
    saga, other = start_trip(), completed_trip("B")
    narrow = ("saga_bulk", "pause", "--display", "pending", "--definition", "trip")

    dry = run_command(*narrow, "--dry-run")
    done = run_command(*narrow, "--count", "1", *WHY)
    found = SagaBulk.objects.get()
    runner.run_due()

    words = "state: pending; definition: trip"
    assert (dry.code, dry.out) == (0, f"pause of 1 sagas ({words}). Nothing was done.\n")
    assert (done.code, done.out.splitlines()[0]) == (0, f"Started: pause of 1 sagas ({words}).")
    assert (found.reason, found.total, found.is_trusted) == (REASON, 1, True)
    assert [Saga.objects.get(pk=pk).hold for pk in (saga.pk, other.pk)] == ["paused", None]
    shown = run_command("saga_bulk_show", found.pk)
    assert "finished" in shown.out
    found.refresh_from_db()
    document = run_command("saga_bulk_show", found.pk, "--json").json
    assert document == {**describe_bulk(found), "nothing_done": []}
    assert (document["counts"]["done"], document["frozen_at"]) == (1, found.frozen_at.isoformat())
    assert str(found.pk) in run_command("saga_bulk_show").out


def test_console_filters_are_options() -> None:
    moment = completed_trip("B").closed_at.isoformat()
    start_trip()

    def count(*narrow: str) -> str:
        return run_command("saga_bulk", "pause", *narrow, "--dry-run").out

    for narrow in (("--operated", "no"), ("--since", moment)):
        assert count(*narrow).startswith("pause of 1 sagas"), narrow
    for narrow in (("--operated", "yes"), ("--until", "2020-01-01T00:00:00Z"), ("--attempts", "2"),
                   ("--group", "0" * 16), ("--step", "unheard_of")):  # fmt: skip
        assert count(*narrow).startswith("pause of 0 sagas"), narrow
    assert run_command("saga_bulk", "pause", "--attempts", "1", *WHY).code == 2
    assert run_command("saga_bulk", "pause", "--step", "unheard_of", "--everything", *WHY).code == 2
    assert not SagaBulk.objects.exists()


NARROWS_NOTHING = [
    ("--since", "2000-01-01T00:00:00Z"),
    ("--until", "2999-01-01T00:00:00Z"),
    ("--since", "2000-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00+14:00"),
    ("--closed", "no"),
    ("--state", "pending", "--state", "running,compensating"),
    ("--search", "T"),
    ("--search", "trip", "--since", "2000-01-01T00:00:00Z"),
]


@pytest.mark.parametrize("narrow", NARROWS_NOTHING, ids=" ".join)
@pytest.mark.parametrize("form", [WHY, ("--dry-run",)], ids=["real", "dry"])
def test_filter_that_matches_everything_is_refused(narrow: tuple[str, ...], form: tuple[str, ...]) -> None:
    for number in range(3):
        start_trip(f"TRIP-{number}")

    done = run_command("saga_bulk", "pause", *narrow, *form)

    assert done.code == 2
    assert "excludes no saga" in done.err
    assert "every open saga explicitly" in done.err
    assert not SagaBulk.objects.exists()


@pytest.mark.parametrize(
    "narrow",
    [
        ("--display", "pending"),
        ("--definition", "trip"),
        ("--operated", "no"),
        ("--search", "TRIP-0"),
        ("--state", "pending"),
    ],
)
def test_explicit_filter_is_accepted_even_if_it_matches_everything(narrow: tuple[str, ...]) -> None:
    start_trip("TRIP-0")

    assert run_command("saga_bulk", "pause", *narrow, *WHY).code == 0


def test_window_that_excludes_a_closed_saga_is_accepted() -> None:
    moment = completed_trip("B").closed_at.isoformat()
    start_trip()

    assert run_command("saga_bulk", "pause", "--since", moment, *WHY).code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "No filter is given"),
        (("--display", "held"), "No open saga matches"),
        (("--display", "pending", "--count", "7"), "You typed 7"),
        (("--display", "pending", "--reason", "short"), "The reason needs at least 10 visible"),
        (("--everything", "--words", "yes"), "This selection has no filter"),
        (("--id", "0198f3a2-5c1e-7000-8000-000000000000"), "There is no saga"),
    ],
)
def test_dry_run_is_refused_like_the_real_run(arguments: tuple[str, ...], text: str) -> None:
    start_trip()

    dry, real = (
        run_command("saga_bulk", "pause", *arguments, *(() if "--reason" in arguments else WHY), *form)
        for form in (("--dry-run",), ())
    )

    assert dry.code == real.code != 0
    assert dry.err == real.err
    assert text in dry.err
    assert not SagaBulk.objects.exists()


def test_dry_run_names_the_missing_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        start_trip(str(number))
    monkeypatch.setattr("sagas.operators.bulk.preconditions.CONFIRM_COUNT_ABOVE", 1)

    done = run_command("saga_bulk", "pause", "--everything", "--dry-run")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"pause of 2 sagas ({EVERYTHING}). Nothing was done.",
        f'To perform it, add --count 2 and --words "{EVERYTHING}".',
    ]
    assert not SagaBulk.objects.exists()


def test_named_sagas_are_operated_on_and_reported() -> None:
    saga, closed = start_trip(), completed_trip("B")

    assert run_command("saga_bulk", "cancel", "--id", saga.pk, "--id", closed.pk, *WHY).code == 0
    runner.run_due()
    found = SagaBulk.objects.get()
    runner.advance(found.pk)

    assert operations() == ["cancel"]
    assert run_command("saga_bulk_stop", found.pk).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "No filter is given"),
        (("--everything",), 2, "This selection has no filter"),
        (("--everything", "--words", "yes"), 2, "This selection has no filter"),
        (("--everything", "--words", EVERYTHING, "--count", "7"), 2, "You typed 7"),
        (("--display", "held"), 2, "No open saga matches"),
        (("--display", "pending", "--user", "nobody"), 2, "no active user"),
        (("--display", "pending", "--user", "ada"), 1, "lacks the permission sagas.bulk_saga"),
    ],
)
def test_refused_bulk_stores_nothing(arguments: tuple[str, ...], code: int, text: str) -> None:
    User.objects.create_user("ada").user_permissions.add(Permission.objects.get(codename="pause_saga"))
    start_trip()

    done = run_command("saga_bulk", "pause", *arguments, *WHY)

    assert (done.code, text in done.err) == (code, True), done.err
    assert (SagaBulk.objects.count(), operations()) == (0, [])


def test_stop_leaves_the_remaining_sagas_unchanged() -> None:
    start_trip()
    run_command("saga_bulk", "pause", "--everything", "--words", EVERYTHING, *WHY)
    found = SagaBulk.objects.get()

    stopped = run_command("saga_bulk_stop", found.pk, "--reason", "Wrong ones.")
    again = run_command("saga_bulk_stop", found.pk, "--json")

    assert (stopped.code, stopped.out) == (0, "Stopped.\n1 of 1 sagas had not been started.\n")
    assert (again.code, again.json["is_repeat"]) == (0, True)
    assert (runner.run_due(), operations()) == (0, [])


def test_unknown_bulk_is_refused() -> None:
    unknown = "0198f3a2-5c1e-8000-8000-000000000000"

    for command in ("saga_bulk_show", "saga_bulk_stop"):
        assert run_command(command, unknown).code == 1
    assert run_command("saga_bulk_show").out == "No bulks found.\n"
