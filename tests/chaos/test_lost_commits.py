"""F10 over the network: COMMITs and their responses are lost between real processes and PostgreSQL."""

import json
import os
import zlib
from pathlib import Path

import pytest

from config.local.valkey import LocalValkey
from tests.end_to_end import ledger_audit
from tests.end_to_end.blueprints import FOUR_DATABASES, ONE_DATABASE, Blueprints
from tests.end_to_end.shops import PATIENCE_SECONDS
from tests.servers import SERVER_VARIABLE

from .customers import Customers
from .kinds import KINDS
from .proxy import Fate, PostgresProxy, open_proxy
from .settling import find_wrong_ends, list_held_orders, read_ends, wait_until_settled
from .testbed import PATIENT_ENGINE

pytestmark = pytest.mark.full

HURT = (Fate.ANSWER_LOST, Fate.DROP, Fate.LATE)
# One saga commits about 20 times, so each is hit several times, at different places.
EVERY = 7


def lose_some(number: int) -> Fate:
    """Lose one COMMIT of this number, in each way.

    Which ones is the same in every run and follows no rhythm: every seventh exactly would hurt the last saga at the
    same place of each of its attempts, were these seven COMMITs long.
    """
    drawn = zlib.crc32(b"%d" % number)
    return HURT[drawn // EVERY % len(HURT)] if drawn % EVERY == 0 else Fate.PASS


# A compensation that cannot succeed spends all of its budget, a second or more each time. So many lost COMMITs in a
# row that another one does too are as good as impossible.
ENGINE = {**PATIENT_ENGINE, "COMPENSATION_RETRY": {**PATIENT_ENGINE["COMPENSATION_RETRY"], "attempts": 10}}


@pytest.mark.parametrize("count", [FOUR_DATABASES, ONE_DATABASE])
def test_every_checkout_ends_correctly_when_commits_are_lost(
    blueprints: Blueprints, broker: LocalValkey, tmp_path: Path, count: int
) -> None:
    with blueprints.copy(count, broker.url, tmp_path) as project, open_proxy(os.environ[SERVER_VARIABLE]) as proxy:
        through = project.with_environment(SAGAS=json.dumps(ENGINE), **route_through(proxy, project.environment))
        _, client = through.start_web()
        customers = Customers(client=client.log_in("customer", "customer"), per_second=50)
        through.start_worker(concurrency=2)
        proxy.decide = lose_some

        sales = customers.place_all([kind for kind in KINDS for _ in range(2)])
        wait_until_settled(project, patience_seconds=2 * PATIENCE_SECONDS)

        proxy.decide = lambda _number: Fate.PASS
        ends = read_ends(project)
        assert sales.wrong == []
        assert [proxy.fates[fate] > 0 for fate in HURT] == [True] * len(HURT)
        assert list(find_wrong_ends(sales.kinds, ends)) == []
        ledger_audit.assert_ledgers_balance(project, set(sales.kinds), held_orders=list_held_orders(ends))


def route_through(proxy: PostgresProxy, environment: dict[str, str]) -> dict[str, str]:
    """Return the database settings of an environment through the proxy."""
    return {name: proxy.url_of(url) for name, url in environment.items() if name.endswith("DATABASE_URL")}
