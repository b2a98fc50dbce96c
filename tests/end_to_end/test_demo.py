"""``make demo`` and ``make smoke`` as documented, in a clone whose path has a space."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from config.local.runtime import ROOT
from examples.demo.client import ShopClient
from examples.demo.showcase import EXHIBITS
from sagas.core.states import Hold
from sagas.operators.presentation.states import DisplayState
from tests.depth import IS_FULL
from tests.processes import wait_until

PARTS = ("config", "examples", "inventory", "manage.py", "orders", "payments", "sagas", "shipping")
DEMO = [sys.executable, "-m", "examples.demo.run"]
UP_SECONDS = 90.0
UP = "until Ctrl-C, which stops"
ALL_THERE = "The console now shows sagas with every kind of problem"
ENDED = re.compile(r"^(Checkout[^:]*): order ORD-[0-9A-Z]+ is (\w+), as expected\.$", re.MULTILINE)
OWED = re.compile(r"^  inventory owes StockReserved or StockFailed since [\d:]+ \(.+ of 5 min\)\.$", re.MULTILINE)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy the project to a place where no demo has run."""
    copy = make_clone(tmp_path_factory.mktemp("demo"))
    yield copy
    remove_data(copy)


def make_clone(directory: Path) -> Path:
    """Copy the project into a folder with a space in its name."""
    copy = directory / "a clone"
    copy.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part)
        else:
            shutil.copy(source, copy / part)
    return copy


def remove_data(clone: Path) -> None:
    """Remove the database, which is stored elsewhere if root created it."""
    location = clone / "var" / "postgres.location"
    if location.exists():
        shutil.rmtree(location.read_text())


def bare_environment(**variables: str) -> dict[str, str]:
    """Return an environment with only the path: the demo and its commands need no settings."""
    return {"PATH": os.environ["PATH"], **variables}


COMMANDED = {
    "Checkout, everything works": "confirmed",
    "Checkout, out of stock": "cancelled",
    "Checkout, payment declined": "cancelled",
    "Checkout, the gateway's first answer is lost": "confirmed",
}
ENDS = {
    **COMMANDED,
    "Checkout by events, everything works": "confirmed",
    "Checkout by events, out of stock": "cancelled",
    "Checkout by events, payment declined": "cancelled",
    "Checkout by events, address not served": "cancelled",
    "Checkout by events, cancelled by the customer": "cancelled",
}
LEFT_OUT = "Checkout by events, a participant is left out"


class Demo:
    """Running demo and its output."""

    def __init__(self, clone: Path, **variables: str) -> None:
        self.clone = clone
        self.output = clone / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*DEMO, "--port", "0"],
                cwd=clone,
                env=bare_environment(**variables),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(lambda: UP in self.text, "the demo is up", timeout_seconds=UP_SECONDS)
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", self.text)[0]

    @property
    def text(self) -> str:
        """Return its output so far."""
        text = self.output.read_text()
        if self.process.poll() is not None and UP not in text:
            raise AssertionError(f"The demo ended with {self.process.returncode}:\n{text}")
        return text

    def family(self) -> list[psutil.Process]:
        """List all processes it has started, including those behind the guards."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, part: str) -> psutil.Process:
        """Find a process behind a guard by a part of its command line."""
        found = [child for child in self.family() if part in " ".join(child.cmdline()) and not is_guard(child)]
        return found[0]


def is_guard(process: psutil.Process) -> bool:
    """Return whether a process is a guard, whose command line names the guarded command too."""
    return any(part.endswith("guard.py") for part in process.cmdline())


def have_ended(processes: list[psutil.Process]) -> bool:
    """Return whether none of them is running."""
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True


@contextmanager
def started_demo(clone: Path, **variables: str) -> Iterator[Demo]:
    """Start a demo, and always stop it."""
    started = Demo(clone, **variables)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait(60)


@pytest.fixture
def demo(clone: Path) -> Iterator[Demo]:
    """Run a demo for a test."""
    with started_demo(clone) as started:
        yield started


def test_smoke_succeeds_with_complete_transcripts_also_on_the_same_data(clone: Path) -> None:
    # In other runs the demos below use the same data.
    first, again = run_smoke(clone) if IS_FULL else "", run_smoke(clone, TRANSCRIPTS="1")

    # The start, each checkout and its page, an empty line and the end.
    assert len(first.splitlines()) == 3 + 2 * len(ENDS) or not IS_FULL
    assert len(re.findall(r"^Saga [0-9a-f-]{36}$", again, re.MULTILINE)) == len(ENDS)
    assert "capture_payment" in again
    assert "event_recorded" in again


def run_smoke(clone: Path, **variables: str) -> str:
    """Run the smoke test, which must succeed.

    Returns: what it printed.
    """
    done = subprocess.run(
        [*DEMO, "--smoke"], cwd=clone, env=bare_environment(**variables), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(ENDED.findall(done.stdout)) == ENDS
    assert done.stderr == ""
    assert not (clone / "var" / "runtime.json").exists()
    return done.stdout


def test_demo_serves_commands_survives_its_processes_and_ends_with_ctrl_c(demo: Demo, clone: Path) -> None:
    listed = run_manage(clone, "saga_list", "--json")
    second = subprocess.run(DEMO, cwd=clone, env=bare_environment(), capture_output=True, text=True, check=False)
    customer = ShopClient(url=demo.url).log_in("customer", "customer")
    ended = []
    for program, title, style in (
        ("celery", "The worker", "orchestration"),
        ("event_consume", "The consumer", "choreography"),
        ("valkey-server", "Valkey", "choreography"),
    ):
        demo.find(program).kill()
        wait_until(lambda title=title: f"{title} has ended; restarting it" in demo.text, f"{title} is started again")
        placed = customer.check_out(order_of("TEA-SENCHA", style))
        ended.append(customer.wait_for_order(placed.body["number"], UP_SECONDS)["status"])
    family = demo.family()

    demo.process.send_signal(signal.SIGINT)

    assert demo.process.wait(60) == 0
    assert len(json.loads(listed)) >= len(ENDS)
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert ended == ["confirmed", "confirmed", "confirmed"]
    assert "Traceback" not in demo.text
    assert have_ended(family)
    assert not (clone / "var" / "runtime.json").exists()


def test_demo_leaves_a_saga_of_each_kind_and_no_process_when_killed(tmp_path: Path) -> None:
    copy = make_clone(tmp_path)
    with started_demo(copy) as demo:
        first = list_left(demo)
        text = demo.text
        deployed = run_manage(copy, "workshop_deploy")
        [bulk] = [pk for pk, state in first if state == "bulk"]
        shown = json.loads(run_manage(copy, "saga_bulk_show", bulk, "--json"))
        if not IS_FULL:
            kill(demo)

    # The start, the checkouts, URLs and logins, and where the rest is; no log lines.
    assert len(text.splitlines()) == 8 + 2 * len(ENDS)
    assert [text.count(word) for word in ("as expected", "[info", "[warning", "Warning")] == [len(ENDS), 0, 0, 0]
    assert sorted(state for _, state in first) == sorted([*(exhibit.label for exhibit in EXHIBITS), "bulk"])
    assert (shown["actor"], shown["counts"]["done"], shown["counts"]["refused"]) == ("supervisor", 3, 1)
    assert re.fullmatch(r"\S{36} is completed\.\n", deployed)
    if IS_FULL:
        with started_demo(copy) as demo:
            second = list_left(demo)
            kill(demo)
        # Nothing is placed again, and what was fixed meanwhile is not reported again.
        assert set(second) < set(first)
        assert {state for _, state in set(first) - set(second)} == {"bulk", "held: definition missing"}
    remove_data(copy)


def kill(demo: Demo) -> None:
    """Kill a demo, and check that all its processes end."""
    family = demo.family()
    demo.process.kill()
    assert len(family) >= 8
    wait_until(lambda: have_ended(family), "everything has ended", timeout_seconds=60)


def test_demo_without_a_consumer_names_what_is_owed_until_it_runs(clone: Path) -> None:
    with started_demo(clone, EVENTS_PARTICIPANTS="orders,payments,shipping") as demo:
        customer = ShopClient(url=demo.url).log_in("customer", "customer")
        [number] = re.findall(f"^{LEFT_OUT}: order (\\S+) is", demo.text, re.MULTILINE)
        shown = run_manage(clone, "saga_show", customer.get_order(number)["saga"]["id"])
        consumer = subprocess.Popen(
            [sys.executable, "manage.py", "event_consume", "--participant", "inventory"],
            cwd=clone, env=bare_environment(EVENTS_PARTICIPANTS=""), stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda: customer.get_order(number)["saga"]["state"] == "completed", "it ends by itself")
        finally:
            consumer.terminate()

        assert consumer.wait(60) == 0
    assert dict(ENDED.findall(demo.text)) == {**COMMANDED, LEFT_OUT: "processing"}
    assert OWED.search(demo.text)
    assert "inventory owes StockReserved or StockFailed since" in shown


def test_demo_without_events_has_none(clone: Path) -> None:
    with started_demo(clone, EVENTS_URL="") as demo:
        family = [" ".join(child.cmdline()) for child in demo.family()]

    assert dict(ENDED.findall(demo.text)) == COMMANDED
    assert [line for line in family if "event_consume" in line] == []


def test_demo_shows_every_reason_and_every_lasting_state() -> None:
    passing = {
        DisplayState.PENDING, DisplayState.RUNNING, DisplayState.COMPENSATING, DisplayState.WAITING_FOR_EVENT,
    }  # fmt: skip

    assert {exhibit.ends for exhibit in EXHIBITS} == set(DisplayState) - passing
    assert {exhibit.hold for exhibit in EXHIBITS} == {*Hold, None}
    interventions = [exhibit.intervention for exhibit in EXHIBITS]
    assert {found and found.username for found in interventions} == {None, "operator", "supervisor", "admin"}


def run_manage(clone: Path, *arguments: str) -> str:
    """Run a management command on the running demo and return what it prints."""
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=clone, env=bare_environment(), capture_output=True, text=True, check=True).stdout


def list_left(demo: Demo) -> list[tuple[str, str]]:
    """Return the sagas that were left and their states, when all exist."""
    wait_until(lambda: ALL_THERE in demo.text, "all are there", timeout_seconds=2 * UP_SECONDS)
    told = (demo.clone / "var" / "log" / "left-behind.txt").read_text()
    return re.findall(r"^  ([0-9a-f-]{36})  (\S+(?: \S+)*)  ", told, re.MULTILINE)


@pytest.mark.parametrize("options", [[], pytest.param(["--smoke"], marks=pytest.mark.full)], ids=["demo", "smoke"])
def test_demo_ends_if_its_starter_dies_during_the_start(clone: Path, options: list[str]) -> None:
    output = clone / "output-of-an-orphan.txt"
    # On a busy machine a demo can finish starting before that is noticed; then another one is killed.
    assert any(kill_starter(clone, output, options) for _ in range(5))


def kill_starter(clone: Path, output: Path, options: list[str]) -> bool:
    """Kill the process that started a demo, and check that the demo ends.

    Returns: whether it was still starting.
    """
    # A killed demo could not remove it.
    (clone / "var" / "runtime.json").unlink(missing_ok=True)
    demo = [*DEMO, "--port", "0", *options]
    with output.open("wb") as file:
        starter = subprocess.Popen(
            [sys.executable, "-c", f"import subprocess; subprocess.run({demo!r})"],
            cwd=clone, env=bare_environment(), stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    wait_until(lambda: ", Valkey" in output.read_text(), "it has begun", timeout_seconds=UP_SECONDS)
    family = psutil.Process(starter.pid).children(recursive=True)

    starter.kill()
    starter.wait(60)
    is_starting = "order" not in output.read_text()

    wait_until(lambda: have_ended(family), "everything has ended", timeout_seconds=UP_SECONDS)
    assert output.read_text().startswith("Starting: PostgreSQL, Valkey")
    assert not (clone / "var" / "runtime.json").exists()
    if is_starting:
        assert len(family) >= 3
    return is_starting


@pytest.mark.parametrize("command", ["saga_list", "migrate", "check"])
@pytest.mark.parametrize(
    ("variables", "beginning"), [({}, "SECRET_KEY is not set. "), ({"SECRET_KEY": "x"}, "DATABASE_URL is not set. ")]
)
def test_command_without_a_demo_names_the_missing_setting(
    clone: Path, command: str, variables: dict[str, str], beginning: str
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=clone, env=bare_environment(**variables), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(beginning)
    assert line.endswith("start the demo with 'make demo'.")


def test_taken_port_is_named(clone: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        started_at = time.monotonic()
        done = subprocess.run(
            DEMO, cwd=clone, env=bare_environment(PORT=str(port)), capture_output=True, text=True, check=False
        )

    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 is not available" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started_at < UP_SECONDS


def order_of(sku: str, coordination: str) -> dict[str, object]:
    """Return a valid checkout."""
    return {
        "coordination": coordination,
        "lines": [{"sku": sku, "quantity": 1}],
        "payment_method": "pm_card_visa",
        "shipping_address": {"name": "A", "line1": "1 Street", "city": "Cork", "postal_code": "T12", "country": "IE"},
    }
