"""The page docs/how-to/events.md: its blocks are the files of a project, and each is run as written."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import redis
from django.apps import apps
from django.conf import settings as project
from django.db import connection, transaction
from django.test import override_settings

from sagas.events import EventRefused, catalogue, declaration, event, handlers, publish, relay
from sagas.events.consumer import ParticipantConsumer
from sagas.events.settings import get_event_settings

from .events_page import APPS, PAGE, read_settings, write_files

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Write the blocks of the page as files, and put them on the path; return their modules."""
    root = tmp_path_factory.mktemp("shop_of_events")
    names = write_files(root)
    sys.path.insert(0, str(root))
    yield names
    sys.path.remove(str(root))
    for loaded in [name for name in sys.modules if name.partition(".")[0] in {*APPS, "elsewhere"}]:
        del sys.modules[loaded]


@pytest.fixture(scope="module")
def modules(blocks: list[str], django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, ModuleType]]:
    """Install both apps with their tables; return the modules of the page by name."""
    known = {declared.name for declared in declaration.list_types()}
    before = handlers.list_handlers()
    with override_settings(INSTALLED_APPS=[*project.INSTALLED_APPS, *APPS]), django_db_blocker.unblock():
        models = [model for label in APPS for model in apps.get_app_config(label).get_models()]
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
        yield {name: importlib.import_module(name) for name in blocks if not name.startswith("shop.")}
        with connection.schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)
    for handler in handlers.list_handlers():
        if handler not in before:
            handlers.forget(handler.function)
    for declared in declaration.list_types():
        if declared.name not in known:
            declaration.forget(declared.schema)


@pytest.fixture(autouse=True)
def _empty(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Leave every table of the page empty."""
    yield
    relay.close_transport()
    for label in APPS:
        for model in apps.get_app_config(label).get_models():
            model.objects.all().delete()


def on_redis(url: str) -> Any:
    """Return the page's settings with another server."""
    events = read_settings("settings")["SAGAS"]["EVENTS"]
    return override_settings(SAGAS={"WAKEUP": "none", "EVENTS": {**events, "URL": url, "RELAY_ON_COMMIT": False}})


def consume(label: str) -> None:
    ParticipantConsumer(label, instance="test:1", should_stop=lambda: False).run(once=True)


def test_every_block_is_run(blocks: list[str]) -> None:
    assert len(blocks) == PAGE.read_text().count("```python\n") == 11


def test_settings_of_the_page_are_read() -> None:
    given = read_settings("settings")
    with override_settings(SAGAS=given["SAGAS"]):
        assert (get_event_settings().transport, get_event_settings().source) == ("redis", "/shop")
    assert set(given["INSTALLED_APPS"]) > {"sagas", *APPS}


def test_apps_find_each_other(modules: dict[str, ModuleType]) -> None:
    sold = declaration.find_type("GoodsSold")
    assert sold is not None
    assert (catalogue.sender_of(sold), list(catalogue.consumers_of(sold))) == ("tills", ["shelves"])


@pytest.mark.parametrize(
    "name",
    [
        "test_selling_publishes", "test_sold_goods_leave_the_shelf_once", "test_event_waits_for_its_shelf",
        "test_order_does_not_matter",
    ],
)  # fmt: skip
def test_tests_of_the_page_pass(modules: dict[str, ModuleType], name: str) -> None:
    module = modules["shelves.test_handlers"]
    assert sum(one.startswith("test_") for one in vars(module)) == 4
    with override_settings(SAGAS={"WAKEUP": "none", **read_settings("test_settings")["SAGAS"]}):
        getattr(module, name)(None)


def test_old_data_are_read(modules: dict[str, ModuleType]) -> None:
    returned = modules["tills.next_events"].GoodsReturned
    golden = json.loads('{"sku": "TEA", "quantity": 2, "reason": "cold"}')
    assert declaration.type_of(returned).load(golden, 1) == returned(sku="TEA", lines=[{"sku": "TEA", "quantity": 2}])


def test_event_reaches_the_shelf_and_a_foreign_consumer(modules: dict[str, ModuleType], valkey_url: str) -> None:
    modules["shelves.models"].Shelf.objects.create(sku="TEA", stock=5)
    heard: list[tuple[bytes, bytes, Any]] = []
    client = redis.Redis.from_url(valkey_url)
    client.flushdb()
    with on_redis(valkey_url):
        modules["tills.services"].sell("TEA", 2)
        relay.relay_all("default")
        consume("shelves")
        for _ in range(2):
            modules["elsewhere.consumer"].consume(client, lambda *found: heard.append(found))
    assert modules["shelves.models"].Shelf.objects.get().stock == 3
    [(source, _, data)] = heard
    assert (source, data) == (b"/shop/tills/TEA", {"sku": "TEA", "quantity": 2, "customer": ""})
    [(_, fields)] = client.xrange("events")
    shown = re.search(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    # Also the moment at which it was recorded, which the page leaves out.
    described = {line.partition(" ")[0] for line in shown[1].splitlines()} | {"recordedtime"}
    assert {name.decode() for name in fields} == described | {"datacontenttype"}


def test_foreign_producer_is_heard(modules: dict[str, ModuleType], valkey_url: str) -> None:
    scanned: list[str] = []

    @event("ParcelScanned", key="sku", sender="shelves")
    class ParcelScanned:
        sku: str

    @handlers.on(ParcelScanned, consumer="tills")
    def note(parcel: ParcelScanned) -> None:
        scanned.append(parcel.sku)

    client = redis.Redis.from_url(valkey_url)
    client.flushdb()
    with on_redis(valkey_url):
        modules["elsewhere.producer"].send_scan(client, "TEA")
        consume("tills")
    handlers.forget(note)
    declaration.forget(ParcelScanned)
    assert scanned == ["TEA"]


def test_publish_outside_a_transaction_is_refused(modules: dict[str, ModuleType], valkey_url: str) -> None:
    sold = modules["tills.events"].GoodsSold(sku="TEA", quantity=1)
    with on_redis(valkey_url):
        with pytest.raises(EventRefused, match="must be published in"):
            publish(sold)
        with transaction.atomic():
            publish(sold)
