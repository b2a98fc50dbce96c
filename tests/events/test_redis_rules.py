"""Rules of the transport over Redis, each on a real server: trimming, losses, options, TLS and log-in."""

import re
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from sagas.events import transports
from sagas.events.errors import BrokerAway
from sagas.events.inbox import Result
from sagas.events.settings import EventSettings
from sagas.events.transports.base import Finding

from . import world
from .tls_front import TlsFront
from .transport_contract import gather, make, numbers
from .valkey_driver import ValkeyDriver
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

BOTH = (["flow"], [("inventory", ["flow"]), ("shipping", ["flow"])])
ONE = (["flow"], [("inventory", ["flow"])])


@pytest.fixture(scope="module")
def own_server() -> Iterator[ValkeyDriver]:
    """Run a server for the tests of this module."""
    driver = ValkeyDriver(None)
    yield driver
    driver.stop()


@pytest.fixture
def server(own_server: ValkeyDriver) -> ValkeyDriver:
    """Return the server, empty, with streams that are trimmed to the message."""
    own_server.lose_everything()
    own_server.client.config_set("stream-node-max-entries", "1")
    return own_server


def errors(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.is_error]


def test_flushed_server_gets_its_groups_again_and_nothing_twice(
    server: ValkeyDriver, flow: Behaviour, event_settings: Any
) -> None:
    event_settings(URL=server.url)
    flow.answers = False
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    server.lose_everything()
    world.send(Paid(order_id="ORD-2"))
    assert world.consume() == {Result.HANDLED: 1}
    assert [key for key, _ in world.list_effects()] == ["ORD-1", "ORD-2"]


def test_running_reader_survives_a_flush(server: ValkeyDriver, caplog: pytest.LogCaptureFixture) -> None:
    reader = server.subscribe("inventory")
    server.lose_everything()
    server.connect().send([make(1)])  # the stream is there again, its group is not
    assert numbers(gather(reader, 1)) == [1]
    assert "Groups lost by the Redis server; created again." in caplog.text


def test_idle_time_decides_what_is_taken_over(server: ValkeyDriver) -> None:
    owner = server.subscribe("inventory")
    server.connect().send([make(1)])
    gather(owner, 1, acknowledges=False)
    assert server.subscribe("inventory").poll(seconds=0.2, at_most=10) == []
    assert numbers(gather(server.subscribe("inventory", is_hasty=True), 1)) == [1]


def test_all_that_dead_processes_left_is_found_behind_what_is_in_hand(server: ValkeyDriver) -> None:
    """A scan of the server covers a few entries only, so it goes on until the end."""
    server.connect().send([make(number) for number in range(41)])
    dead = server.subscribe("inventory")
    left = gather(dead, 41, acknowledges=False)[40]
    dead.acknowledge(())
    server.abandon(dead)
    entries = [str(entry) for entry, _ in server.client.xrange("flow")[:40]]
    server.client.xclaim("flow", "inventory", "busy", 0, entries, idle=0)
    successor = server.connect(is_hasty=True).subscribe("inventory", ["flow"], instance="successor")
    server.client.xclaim("flow", "inventory", "busy", 0, entries, idle=0)
    assert [one.position for one in successor.poll(seconds=0.01, at_most=10)] == [left.position]


def test_streams_are_trimmed_below_what_every_group_has_acknowledged(server: ValkeyDriver) -> None:
    transport, reader, other = server.connect(), server.subscribe("inventory"), server.subscribe("shipping")
    transport.send([make(number) for number in range(10)])
    gather(reader, 10)
    assert transport.trim(*BOTH) == 0  # shipping has read none
    found = gather(other, 10, acknowledges=False)
    other.acknowledge(found[:4])
    assert transport.trim(*BOTH) == 4
    other.acknowledge(found[4:])
    assert (transport.trim(*BOTH), server.client.xlen("flow")) == (6, 0)
    assert errors(transport.check(*BOTH)) == []


def test_groups_of_strangers_keep_messages_too(server: ValkeyDriver) -> None:
    transport, reader = server.connect(), server.subscribe("inventory")
    server.client.xgroup_create("flow", "stranger", id="0")
    transport.send([make(1)])
    gather(reader, 1)
    assert transport.trim(*ONE) == 0
    server.client.xgroup_destroy("flow", "stranger")
    assert transport.trim(*ONE) == 1


def test_group_that_does_not_exist_keeps_messages(server: ValkeyDriver) -> None:
    transport, reader = server.connect(), server.subscribe("inventory")
    transport.send([make(1)])
    gather(reader, 1)
    assert transport.trim(*BOTH) == 0
    assert errors(transport.check(*BOTH)) == ["Group shipping of stream flow does not exist."]


def test_vanished_group_keeps_messages_for_the_age_bound_only(
    server: ValkeyDriver, caplog: pytest.LogCaptureFixture
) -> None:
    transport = server.connect()
    transport.declare(*BOTH)
    age = int(time.time() * 1000) - 1000 * 604_800
    for milliseconds in (age - 60_000, age + 60_000):
        server.client.xadd("flow", {"data": "{}"}, id=f"{milliseconds}-0")
    gather(server.subscribe("inventory"), 2)
    assert errors(transport.check(*BOTH)) == [
        "shipping has not acknowledged messages of stream flow for longer than keep_seconds."
    ]
    assert transport.trim(*BOTH) == 1
    assert caplog.messages == ["Stream trimmed by age: a group has not acknowledged its messages."]
    assert transport.trim(*BOTH) == 0
    assert len(caplog.messages) == 1


def test_messages_that_nobody_reads_are_trimmed_by_age_without_an_alarm(
    server: ValkeyDriver, caplog: pytest.LogCaptureFixture
) -> None:
    server.client.xadd("flow", {"data": "{}"}, id="1-0")
    server.connect().send([make(1)])
    assert server.connect().trim(["flow", "absent"], []) == 1
    assert caplog.messages == []


def test_trimming_by_others_is_reported(server: ValkeyDriver) -> None:
    transport, reader = server.connect(), server.subscribe("inventory")
    transport.send([make(number) for number in range(10)])
    reader.acknowledge(reader.poll(seconds=1, at_most=2))
    server.client.xtrim("flow", maxlen=3, approximate=False)
    assert errors(transport.check(*ONE)) == ["Stream flow was trimmed by 5 messages that inventory had not read."]


def test_trimmed_entries_are_gaps(server: ValkeyDriver) -> None:
    server.connect().send([make(number) for number in range(3)])
    dead = server.subscribe("inventory")
    gather(dead, 3, acknowledges=False)
    server.abandon(dead)
    server.client.xtrim("flow", maxlen=1, approximate=False)
    reader = server.subscribe("inventory", is_hasty=True)
    assert numbers(gather(reader, 1)) == [2]
    assert reader.read_lag() == 0


def test_server_without_a_file_is_reported(server: ValkeyDriver) -> None:
    transport = server.connect()
    transport.declare(*ONE)
    assert [(finding.what, finding.is_error) for finding in transport.check(*ONE)] == [
        ("The Redis server keeps no append-only file (appendonly no): a restart loses events.", False)
    ]
    server.client.config_set("appendonly", "yes")
    assert transport.check(*ONE) == []
    server.client.config_set("appendonly", "no")


def test_restarted_server_has_what_is_in_its_file(tmp_path: Path) -> None:
    server = ValkeyDriver(tmp_path)
    reader, transport = server.subscribe("inventory"), server.connect()
    transport.send([make(1), make(2)])
    first = gather(reader, 2, acknowledges=False)
    reader.acknowledge(first[:1])
    server.server.process.send(signal.SIGKILL)
    server.stop()
    server.start()
    assert numbers(gather(server.subscribe("inventory", is_hasty=True), 1)) == [2]
    server.stop()


def test_restarted_server_without_a_file_begins_anew(server: ValkeyDriver) -> None:
    reader, transport = server.subscribe("inventory"), server.connect()
    transport.send([make(1)])
    gather(reader, 1)
    server.stop()
    server.start()
    transport.send([make(2)])
    assert numbers(gather(reader, 1)) == [2]


def test_only_commands_of_redis_7_are_sent(server: ValkeyDriver) -> None:
    """Redis 7.0 has these; what the client sends by itself when it connects is optional."""
    server.client.config_resetstat()
    transport, reader = server.connect(), server.subscribe("inventory", is_hasty=True)
    transport.declare(*BOTH)
    transport.send([make(1), make(2)])
    found = gather(reader, 1, acknowledges=False)
    reader.acknowledge(found[:1])
    time.sleep(0.1)
    gather(server.subscribe("inventory", is_hasty=True), 1)
    reader.read_lag()
    transport.check(*BOTH)
    transport.trim(*BOTH)
    reader.close()
    sent = {name.removeprefix("cmdstat_") for name in server.client.info("commandstats")}
    assert {name for name in sent if name.startswith("x")} == {
        "xack", "xadd", "xautoclaim", "xgroup|create", "xgroup|delconsumer", "xinfo|groups", "xinfo|stream", "xpending",
        "xreadgroup", "xtrim",
    } | {name for name in sent if name == "xrange"}  # fmt: skip
    assert {name for name in sent if not name.startswith("x")} <= {
        "client|setinfo", "client|setname", "client|maint_notifications", "config|get", "config|resetstat", "hello",
        "info", "ping",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"claim_idle_ms": "soon"}, r"\['claim_idle_ms'\] must be a whole number of at least 1"),
        ({"claim_idle_ms": 0}, r"\['claim_idle_ms'\] must be a whole number of at least 1"),
        ({"keep_seconds": True}, r"\['keep_seconds'\] must be a whole number of at least 1"),
        ({"nonsense": 1}, r"\(nonsense\): .*unexpected keyword argument 'nonsense'"),
        ({"ssl_ca_certs": "/ca.pem"}, r"\(ssl_ca_certs\): .*unexpected keyword argument 'ssl_ca_certs'"),
        ({"decode_responses": True}, r"decode_responses changes the form of answers"),
        ({"protocol": 3}, r"protocol changes the form of answers"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=told):
        transports.connect(EventSettings(url="redis://127.0.0.1:1/0", options=options))


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://host/0?decode_responses=yes", "redis://host:99999/0"])
def test_wrong_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="The Redis client does not take"):
        transports.connect(EventSettings(url=url))


def test_options_reach_the_client(server: ValkeyDriver) -> None:
    transport = transports.connect(EventSettings(url=server.url, options={"client_name": "the-shop"}))
    transport.send([make(1)])
    assert "the-shop" in [client["name"] for client in server.client.client_list()]


def test_wait_ends_before_the_sockets_time_out(server: ValkeyDriver) -> None:
    reader = server.subscribe("inventory", send_timeout=timedelta(seconds=0.4))
    assert reader.poll(seconds=5, at_most=1) == []


def test_log_in_by_url(server: ValkeyDriver) -> None:
    server.client.acl_setuser("shop", enabled=True, passwords=["+se:cr@t"], categories=["+@all"], keys=["*"])
    place = server.url.removeprefix("redis://")
    right, wrong = (EventSettings(url=f"redis://shop:{word}@{place}") for word in ("se%3Acr%40t", "other"))
    assert transports.connect(right).send([make(1)]) == [None]
    with pytest.raises(BrokerAway, match="AuthenticationError") as caught:
        transports.connect(wrong).send([make(1)])
    assert "other" not in re.sub("another", "", str(caught.value))


def test_tls_by_url_and_options(server: ValkeyDriver, tmp_path: Path) -> None:
    with TlsFront(server.server.port, tmp_path) as front:
        url = f"rediss://localhost:{front.port}/0"
        trusted = transports.connect(EventSettings(url=url, options={"ssl_ca_certs": str(front.certificate)}))
        assert trusted.send([make(1)]) == [None]
        reader = trusted.subscribe("inventory", ["flow"], instance="host:1")
        assert numbers(gather(reader, 1)) == [1]
        with pytest.raises(BrokerAway, match="certificate verify failed"):
            transports.connect(EventSettings(url=url)).send([make(1)])
