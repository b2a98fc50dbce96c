"""Two apps and one event in a project of their own: the how-to's files on the installed wheel, without any saga."""

import json
import os
from pathlib import Path

import pytest

from tests.documentation.events_page import write_files
from tests.servers import SERVER_VARIABLE

from .conftest import DRIVER
from .environments import make_environment, new_database, run

# The page adds its two settings to what `startproject` writes.
SETTINGS = """
import json, os
SECRET_KEY = "only-for-this-test"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **json.loads(os.environ["SHOP_DATABASE"])}}
"""
IN_MEMORY = '"memory://", "RELAY_ON_COMMIT": False'
# One process, because a broker in memory is not shared.
DRIVE = """
import json, os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
import django
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("check", fail_level="WARNING")
from sagas.core.definition import registry
from sagas.events import catalogue, consumer, relay
from shelves.models import Shelf
from tills.services import sell
Shelf.objects.create(sku="TEA", stock=5)
sell("TEA", 2)
sent = relay.relay_all("default")
tally = consumer.consume(["shelves"], instance="test:1", should_stop=lambda: False, once=True)["shelves"]
stock = Shelf.objects.get().stock
print(json.dumps([len(registry.all_definitions()), catalogue.list_consumers(), sent, tally.counts, stock]))
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and what its extra ``events`` brings."""
    return make_environment(tmp_path_factory.mktemp("with_events"), wheel, DRIVER, "cloudevents", "PyYAML")


def test_events_need_no_saga_and_no_more_than_the_extra(python: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    page = (tmp_path / "shop" / "settings.py").read_text().replace('"redis://127.0.0.1:6379/1"', IN_MEMORY)
    (tmp_path / "shop" / "settings.py").write_text(SETTINGS + page)
    (tmp_path / "drive.py").write_text(DRIVE)
    with new_database(os.environ[SERVER_VARIABLE], "shop") as parameters:
        printed = run([str(python), "drive.py"], directory=tmp_path, SHOP_DATABASE=json.dumps(parameters))
    definitions, consumers, sent, counts, stock = json.loads(printed.splitlines()[-1])
    assert (definitions, consumers, sent, counts, stock) == (0, ["shelves"], 1, {"handled": 1}, 3)
