"""A running shop, used as by customers and operators: over REST, and by commands."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from config.local.children import GuardedProcess
from config.local.valkey import start_valkey
from examples.demo.client import Answer, ShopClient
from tests.processes import BUSY_MACHINE_SECONDS, KILLED_WITHIN_SECONDS, Process, Project, wait_until

from . import ledger_audit
from .removals.apps import RULE_VARIABLE
from .stops.points import DIRECTORY_VARIABLE, Marks

SETTINGS_WITH_STOPS = "tests.end_to_end.settings"

PATIENCE_SECONDS = BUSY_MACHINE_SECONDS
LOOK_SECONDS = 0.1


class Broker(Protocol):
    """Broker that a test may harm."""

    @property
    def url(self) -> str:
        """Return the URL for CELERY_BROKER_URL."""

    @property
    def process(self) -> GuardedProcess:
        """Return its process."""


@dataclass(kw_only=True)
class Shop:
    """Shop that takes orders.

    project: databases and settings. brokers: what its wake-ups go through, the present one last. client: its customer.
    workers: started by tests. accepted, held_orders: orders accepted so far, and those of them that wait for an
    operator. patience_seconds: how long it waits for anything to happen.
    """

    project: Project
    brokers: list[Broker]
    client: ShopClient
    workers: list[Process] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    held_orders: set[str] = field(default_factory=set)
    patience_seconds: float = PATIENCE_SECONDS

    @property
    def broker(self) -> Broker:
        """Return the current broker."""
        return self.brokers[-1]

    def kill_broker(self) -> None:
        """Kill the broker, and wait until it has ended."""
        self.broker.process.send(signal.SIGKILL, whole_group=True)
        self.broker.process.wait(KILLED_WITHIN_SECONDS)

    def restart_broker(self) -> None:
        """Start an empty broker on the port of the killed one."""
        self.brokers.append(start_valkey(urlsplit(self.broker.url).port))

    def with_engine(self, engine: Mapping[str, Any]) -> Shop:
        """Return the same shop with other engine settings for the workers it starts."""
        return replace(self, project=self.project.with_environment(SAGAS=json.dumps(engine)))

    def without(self, rule: str) -> Shop:
        """Return the same shop whose processes run without a guarding rule (``removals``)."""
        project = self.project.with_environment(**{"DJANGO_SETTINGS_MODULE": SETTINGS_WITH_STOPS, RULE_VARIABLE: rule})
        return replace(self, project=project)

    def start_worker(
        self, name: str = "worker", *, stops: Marks | None = None, concurrency: int = 1, ready: bool = True
    ) -> Process:
        """Start a worker that ends with the test; with marks, one that stops where an order says so."""
        project = self.project
        if stops is not None:
            project = project.with_environment(
                **{"DJANGO_SETTINGS_MODULE": SETTINGS_WITH_STOPS, DIRECTORY_VARIABLE: str(stops.directory)}
            )
        self.workers.append(project.start_worker(name, concurrency=concurrency, ready=ready))
        return self.workers[-1]

    def start_sweep(self) -> Process:
        """Start a sweep that needs no broker; it ends with the test."""
        self.workers.append(self.project.start_command("sweep", "saga_sweep", "--loop", "--run"))
        return self.workers[-1]

    def stop_workers(self) -> None:
        """Stop its workers at once: a graceful stop takes seconds."""
        while self.workers:
            worker = self.workers.pop()
            if worker.is_running:
                worker.kill()

    def place(self, payment_method: str = "pm_card_visa", **details: str) -> str:
        """Place a checkout that must be accepted.

        details: as of ``describe_checkout``, and ``key`` for the idempotency key.
        Returns: the order's number.
        """
        answer = self.client.check_out(
            describe_checkout(payment_method, **{name: text for name, text in details.items() if name != "key"}),
            key=details.get("key", ""),
        )
        assert answer.status == 202, answer
        return self.take(answer)

    def take(self, answer: Answer) -> str:
        """Record an accepted order, so that the ledgers must show it.

        Returns: the order's number.
        """
        number = str(answer.body["number"])
        assert answer.headers["Location"] == f"/api/v1/orders/{number}/"
        self.accepted.add(number)
        return number

    def wait_for(self, number: str, status: str) -> dict[str, Any]:
        """Read an order over REST until it has this status.

        Raises: AssertionError with the saga's transcript if it ends with another one.
        """
        order = self.client.wait_for_order(number, self.patience_seconds)
        assert order["status"] == status, f"{order}\n{self.project.manage('saga_show', order['saga']['id']).stdout}"
        return order

    def wait_until_closed(self, numbers: Iterable[str]) -> None:
        """Wait until the sagas of these orders are closed."""
        statement = "SELECT count(*) AS open FROM sagas_saga WHERE closed_at IS NULL AND id IN (SELECT saga_id FROM "
        statement += "orders_order WHERE number = ANY(%s))"
        wanted = list(numbers)
        wait_until(
            lambda: self.project.query(statement, [wanted])[0]["open"] == 0,
            f"the sagas of {', '.join(wanted)} are closed",
            timeout_seconds=self.patience_seconds,
            pause_seconds=LOOK_SECONDS,
        )

    def wait_until_needing(self, number: str, reason: str) -> None:
        """Wait until the saga of an order, or one of its steps, is held for this reason."""
        statement = "SELECT count(*) AS held FROM sagas_sagastep WHERE saga_id = %s AND hold = %s"
        wanted = [self.saga_of(number), reason]
        wait_until(
            lambda: self.project.query(statement, wanted)[0]["held"] == 1,
            f"order {number} is held: {reason}",
            timeout_seconds=self.patience_seconds,
            pause_seconds=LOOK_SECONDS,
        )

    def operate(self, command: str, number: str, *arguments: str) -> str:
        """Run an operator's command on the saga of an order.

        Returns: what it printed.
        """
        reason = ["--reason", "Looked it up at the provider"]
        return self.project.manage(command, self.saga_of(number), *arguments, *reason).stdout

    def saga_of(self, number: str) -> str:
        """Return the id of an order's saga."""
        return str(self.project.query("SELECT saga_id FROM orders_order WHERE number = %s", [number])[0]["saga_id"])

    def list_attempts(self, number: str, step: str, direction: str = "action") -> list[str]:
        """Return the outcomes of a step's attempts, in order."""
        statement = """SELECT a.outcome FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.id = a.step_id
            WHERE a.saga_id = %s AND t.name = %s AND a.direction = %s ORDER BY a.number"""
        return [row["outcome"] for row in self.project.query(statement, [self.saga_of(number), step, direction])]

    def list_reasons(self, number: str) -> list[str]:
        """Return why ``saga_list --attention`` shows an order's saga; an empty list when it does not."""
        listed = json.loads(self.project.manage("saga_list", "--attention", "--search", number, "--json").stdout)
        return [reason for saga in listed for reason in saga["needs"]]

    def count_in_ledger(self, number: str, kind: str) -> int:
        """Count the gateway's entries for an order: ``authorize``, ``capture``, ``void`` or ``refund``."""
        statement = """SELECT count(*) AS done FROM payments_sandboxoperation o
            JOIN payments_sandboxauthorization a ON a.id = o.authorization_id
            WHERE a.order_number = %s AND o.kind = %s AND o.outcome = 'succeeded'"""
        return int(self.project.query(statement, [number, kind], database=ledger_audit.PAYMENTS)[0]["done"])

    def assert_ledgers_balance(self) -> None:
        """Check every order of this shop by SQL."""
        ledger_audit.assert_ledgers_balance(self.project, self.accepted, held_orders=self.held_orders)


def describe_checkout(
    payment_method: str, *, sku: str = "TEA-SENCHA", postal_code: str = "H91 E2V4", line2: str = ""
) -> dict[str, Any]:
    """Return the body of a checkout."""
    address = {
        "name": "Ada",
        "line1": "1 Harbour Street",
        "city": "Galway",
        "postal_code": postal_code,
        "country": "IE",
    }
    return {
        "lines": [{"sku": sku, "quantity": 1}],
        "payment_method": payment_method,
        "shipping_address": {**address, **({"line2": line2} if line2 else {})},
    }
