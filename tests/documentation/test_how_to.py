"""The recipes of docs/how-to/recipes.md: their blocks are the files of an app, and each is run as written."""

import asyncio
import importlib
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connection, connections
from django.test import override_settings
from django.utils import timezone

import sagas
from config.local.runtime import ROOT
from sagas import clock
from sagas.core.definition import registry
from sagas.core.states import Outcome
from sagas.models import Saga
from sagas.operations import Actor, cancel, list_remedies, run_remedy
from sagas.testing import assert_invariants, drain, faults, outcomes_of, pass_time
from sagas.testing.drain import hooks_called_here, look, read
from sagas.worker import owed_hooks

PAGE = ROOT / "docs" / "how-to" / "recipes.md"
BLOCK = re.compile(r"^```python\n# stays/(\w+)\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TABLES = (("sagas", "sagabarrier"), ("sagas", "outboxevent"), ("sagas", "inboxevent"))

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write the blocks of the page as the files of the app, and put it on the path."""
    root = tmp_path_factory.mktemp("project")
    directory = root / "stays"
    directory.mkdir()
    (directory / "__init__.py").write_text("")
    for name, text in BLOCK.findall(PAGE.read_text()):
        path = directory / f"{name}.py"
        assert not path.exists(), f"two blocks of the page are {name}.py"
        path.write_text(text)
    sys.path.insert(0, str(root))
    yield directory
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name == "stays" or name.startswith("stays.")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def stays(package: Path, django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, ModuleType]]:
    """Install the app with its tables.

    Returns: its modules by name.
    """
    settings = {"INSTALLED_APPS": [*_installed(), "stays"], "SAGAS": {"WAKEUP": "none"}}
    with registry.preserved(), override_settings(**settings), django_db_blocker.unblock():
        models = list(apps.get_app_config("stays").get_models())
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
        names = sorted(path.stem for path in package.glob("*.py") if path.stem != "__init__")
        yield {name: importlib.import_module(f"stays.{name}") for name in names}
        with connection.schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)


def _installed() -> list[str]:
    from django.conf import settings

    return list(settings.INSTALLED_APPS)


@pytest.fixture(autouse=True)
def _in_order(stays: dict[str, ModuleType]) -> Iterator[None]:
    """Call hooks in this thread, put the clock back, and leave every saga sound and every table empty."""
    with clock.restored(), hooks_called_here():
        yield
    for pk in Saga.objects.values_list("pk", flat=True):
        assert_invariants(pk)
    for model in apps.get_app_config("stays").get_models():
        model.objects.all().delete()


def start(stays: dict[str, ModuleType], module: str, name: str, guests: int = 1) -> tuple[Any, Saga]:
    stay = stays["models"].Stay.objects.create(guests=guests)
    definition = getattr(stays[module], name)
    saga = sagas.start(definition, stays["inputs"].StayInput(stay=stay.pk), business_keys={"stay": str(stay.pk)})
    return stay, saga


def list_rooms(stay: Any) -> list[str]:
    return sorted(room.key.partition(":")[2] for room in stay.rooms.all())


def test_every_block_is_a_file_of_the_app(package: Path) -> None:
    blocks = PAGE.read_text().count("```python\n")
    assert len(list(package.glob("*.py"))) == blocks + 1  # and __init__.py
    assert blocks >= 10


@pytest.mark.parametrize(("guests", "room"), [(2, "book_main"), (5, "book_annexe")])
def test_branch(stays: dict[str, ModuleType], guests: int, room: str) -> None:
    stay, saga = start(stays, "branching", "BranchingSaga", guests)
    assert drain(saga).state == "completed"
    stay.refresh_from_db()
    assert (list_rooms(stay), stay.status) == ([room], "confirmed")


def test_branch_is_undone(stays: dict[str, ModuleType]) -> None:
    stay, saga = start(stays, "branching", "BranchingSaga", 5)
    with faults() as fault:
        fault.refuse("confirm", RuntimeError("no"), times=5)
        assert drain(saga).state == "compensated"
    assert list_rooms(stay) == []


def test_loop(stays: dict[str, ModuleType]) -> None:
    stay, saga = start(stays, "looping", "LoopingSaga", 5)
    saga = drain(saga)
    assert (saga.state, len(list_rooms(stay))) == ("completed", 5)
    assert outcomes_of(saga.pk, "book_rooms") == [Outcome.IN_PROGRESS, Outcome.IN_PROGRESS, Outcome.SUCCEEDED]


def advance_family(parent: Saga) -> None:
    """Let workers look at everything that is due, until nothing is."""
    for _ in range(20):
        due = [saga.pk for saga in Saga.objects.filter(due_at__lte=clock.read_now("default"))]
        if not due and not owed_hooks.run_owed():
            return
        for pk in due:
            look(pk)


def test_sub_sagas_are_started_once_and_waited_for(stays: dict[str, ModuleType]) -> None:
    stay, parent = start(stays, "families", "FamilySaga", 3)
    advance_family(parent)
    children = sagas.query("room")
    assert ([child.state for child in children], read(parent.pk).state) == (["completed"] * 3, "completed")
    assert len(list_rooms(stay)) == 3


def test_sub_sagas_are_undone(stays: dict[str, ModuleType]) -> None:
    stay, parent = start(stays, "families", "FamilySaga", 3)
    look(parent.pk)
    first, *_others = sagas.query("room")
    look(first.pk)
    stays["models"].Stay.objects.filter(pk=stay.pk).update(status="closed")
    advance_family(parent)
    pass_time(timedelta(minutes=1))
    advance_family(parent)
    assert read(parent.pk).state == "compensated"
    assert sorted(child.state for child in sagas.query("room")) == ["compensated", "compensated", "completed"]
    assert list_rooms(stay) == []


def test_sub_saga_that_is_at_work_is_cancelled_with_its_parent(stays: dict[str, ModuleType]) -> None:
    stay, parent = start(stays, "families", "FamilySaga", 1)
    look(parent.pk)
    [child] = sagas.query("room")

    with faults() as fault:
        fault.crash_before("take_room")
        look(child.pk)
    assert read(child.pk).state == "running"

    cancel(parent.pk, actor=Actor(name="guest", is_trusted=True), reason="The guests are ill.")
    advance_family(parent)
    assert (read(child.pk).state, read(parent.pk).state) == ("compensating", "compensating")
    pass_time(timedelta(minutes=1))
    advance_family(parent)

    assert (read(child.pk).state, read(parent.pk).state) == ("compensated", "compensated")
    assert list_rooms(stay) == []


def test_wait_for_a_person(stays: dict[str, ModuleType]) -> None:
    stay = stays["models"].Stay.objects.create()
    saga = stays["approving"].ask_for(stay)
    look(saga.pk)
    assert stays["reading"].tell_status(stay) == "waits for approval"
    assert list(stays["reading"].list_waiting(timezone.now() - timedelta(hours=1))) == [saga]

    stays["approving"].approve(stay, "ada")
    look(saga.pk)
    assert stays["reading"].tell_status(stay) == "completed"
    assert sagas.summarize(saga).results["wait_for_approval"] == {"by": "ada"}
    assert list(stays["reading"].list_waiting(timezone.now() - timedelta(hours=1))) == []


def test_nobody_answers(stays: dict[str, ModuleType]) -> None:
    stay = stays["models"].Stay.objects.create()
    assert stays["reading"].tell_status(stay) == "not asked for"
    drain(stays["approving"].ask_for(stay), patience=timedelta(days=20))
    assert (stays["reading"].tell_status(stay), list_rooms(stay)) == ("given up: deadline", [])


def test_react_to_the_end(stays: dict[str, ModuleType]) -> None:
    stay, saga = start(stays, "telling", "TellingSaga")
    drain(saga)
    assert [notice.text for notice in stays["models"].Notice.objects.all()] == [f"stay {stay.pk} is completed"]


def test_async_code(stays: dict[str, ModuleType]) -> None:
    async def main() -> tuple[Saga, Any]:
        try:
            booked = await stays["async_views"].book(2)
            return await stays["async_views"].confirm_later(booked.pk), booked
        finally:
            await sync_to_async(connections.close_all)()

    saga, booked = asyncio.run(main())
    assert [drain(found).state for found in sagas.query("telling_stay")] == ["completed"] * 2
    assert sagas.find("telling_stay", stay=str(booked.pk)) == saga


def test_several_databases(stays: dict[str, ModuleType]) -> None:
    router = stays["routers"].ParticipantRouter()
    payment, stay = type("P", (), {}), stays["models"].Stay
    payment._meta = type("M", (), {"app_label": "payments"})  # type: ignore[attr-defined]
    assert (router.db_for_write(payment), router.db_for_write(stay)) == ("payments_db", None)
    places = [
        (db, label, model)
        for db in ("default", "payments_db")
        for label, model in (("payments", "payment"), ("sagas", "saga"), *TABLES, ("stays", "stay"))
        if router.allow_migrate(db, label, model)
    ]
    assert places == [
        ("default", "sagas", "saga"), *(("default", *table) for table in TABLES), ("default", "stays", "stay"),
        ("payments_db", "payments", "payment"), *(("payments_db", *table) for table in TABLES),
    ]  # fmt: skip


def test_long_steps(stays: dict[str, ModuleType]) -> None:
    _stay, saga = start(stays, "exporting", "ExportSaga")
    look(saga.pk)
    assert sagas.summarize(saga).step("export").display_state == "waiting_for_answer"
    stays["exporting"].JOBS[f"{saga.pk}:export"]["is_done"] = True
    assert drain(saga).state == "completed"
    assert stays["models"].Notice.objects.count() == 3


def test_offer_a_look_up_to_operators(stays: dict[str, ModuleType]) -> None:
    _stay, saga = start(stays, "exporting", "ExportSaga")
    operator = Actor(name="ada", is_trusted=True)
    assert list_remedies(saga.pk, actor=operator) == []
    look(saga.pk)
    labels = [offered.label for offered in list_remedies(saga.pk, actor=operator)]
    assert labels == ["Ask the exporter: export", "Finish the export: export"]
    asked = run_remedy(saga.pk, "ask_exporter", actor=operator)
    assert (asked.text, asked.suggestion) == ("The exporter is still writing.", None)

    done = run_remedy(saga.pk, "finish_export", actor=operator, reason="It hangs since noon.", retries=True)

    assert done.message == "The job is ended. export is due now, with a fresh budget."
    assert run_remedy(saga.pk, "ask_exporter", actor=operator).suggestion == "retry"
    assert drain(saga).state == "completed"
