"""Catalogue as rows, and as AsyncAPI 3.0: complete, consistent, and true of what is sent."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import CommandError, call_command

from config.local.runtime import ROOT
from sagas.events import Personal, asyncapi, declaration, event, handlers, on
from sagas.events.schema import dump

from .world import CONSUMER, SENDER

COMMITTED = ROOT / "asyncapi.yaml"


@dataclass(frozen=True, kw_only=True)
class Line:
    """Line of an order."""

    sku: str
    note: Personal[str] = ""


@pytest.fixture
def placed() -> Iterator[Any]:
    """Declare an event with every kind of field, and a handler."""

    @event("TestPlaced", key="order_id", version=2, sender=SENDER, flow="tests", upcasters={1: dict})
    class Placed:
        """An order was placed.

        More about it.
        """

        order_id: str
        lines: list[Line]
        address: Personal[dict[str, str]]
        pair: tuple[int, bool]
        rates: tuple[float, ...] = ()
        amount_minor: int | None = None
        currency: str = "GBP"
        tags: list[str] = field(default_factory=list)

    @on(Placed, consumer=CONSUMER)
    def notice(placed: Placed) -> None:
        """Do nothing."""

    yield Placed
    handlers.forget(notice)
    declaration.forget(Placed)


def find_entry(name: str, layout: str = "flow") -> asyncapi.Entry:
    return next(entry for entry in asyncapi.list_entries(layout) if entry.event.name == name)


def describe(name: str, layout: str = "flow") -> dict[str, Any]:
    return asyncapi.describe([find_entry(name, layout)])


def run(*arguments: str) -> str:
    printed = StringIO()
    call_command("event_catalogue", *arguments, stdout=printed)
    return printed.getvalue()


def list_references(data: Any) -> Iterator[str]:
    """Yield every ``$ref`` of a document."""
    if isinstance(data, dict):
        if "$ref" in data:
            yield data["$ref"]
        for value in data.values():
            yield from list_references(value)
    if isinstance(data, list):
        for value in data:
            yield from list_references(value)


def resolve(document: Any, reference: str) -> Any:
    """Return what a reference names; a missing one is a KeyError."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def test_committed_document_is_in_sync(whole_catalogue: None) -> None:
    own = ("tests.", "benchmarks.")
    entries = [one for one in asyncapi.list_entries("flow") if not one.event.module.startswith(own)]
    assert yaml.safe_load(COMMITTED.read_text()) == asyncapi.describe(entries)


def test_catalogue_without_events_is_a_document() -> None:
    document = asyncapi.describe([])
    assert (document["asyncapi"], document["channels"], document["operations"]) == ("3.0.0", {}, {})
    assert document["components"] == {"messages": {}}


def test_entry_names_everything_about_an_event(placed: Any) -> None:
    assert find_entry("TestPlaced").as_dict() == {
        "event": "TestPlaced", "version": 2, "key": "orderId", "sender": "payments", "consumers": ["inventory"],
        "topic": "tests", "personal": ["lines[].note", "address"],
    }  # fmt: skip


@pytest.mark.parametrize(("layout", "topic"), [("flow", "tests"), ("type", "TestPlaced")])
def test_operations_lead_to_messages_in_both_layouts(placed: Any, layout: str, topic: str) -> None:
    document = describe("TestPlaced", layout)
    assert {name: found["address"] for name, found in document["channels"].items()} == {topic: topic}
    assert {name: found["action"] for name, found in document["operations"].items()} == {
        "payments.send.TestPlaced": "send", "inventory.receive.TestPlaced": "receive",
    }  # fmt: skip
    references = set(list_references(document))
    assert len(references) == 3
    message = document["components"]["messages"]["TestPlaced"]
    [operation] = [found for name, found in document["operations"].items() if name.startswith("payments")]
    reached = resolve(document, operation["messages"][0]["$ref"])
    assert resolve(document, reached["$ref"]) is message
    assert all(resolve(document, reference) for reference in references)


def test_message_says_version_key_and_personal_data(placed: Any) -> None:
    message = describe("TestPlaced")["components"]["messages"]["TestPlaced"]
    assert (message["summary"], message["x-key"]) == ("An order was placed.", "orderId")
    assert message["x-readable-versions"] == [1, 2]
    assert message["x-personal"] == ["lines[].note", "address"]
    headers = message["headers"]["properties"]
    assert (headers["type"], headers["schemaversion"]) == ({"const": "TestPlaced"}, {"const": "2"})
    assert message["headers"]["required"] == ["specversion", "id", "source", "type", "partitionkey"]


def test_unordered_event_has_no_key_and_no_sequence() -> None:
    message = describe("TestNoticed")["components"]["messages"]["TestNoticed"]
    assert message["x-key"] == ""
    assert not {"partitionkey", "subject", "sequence"} & set(message["headers"]["properties"])
    assert "summary" not in message  # the docstring is only the one that dataclasses write


def test_payload_is_the_json_schema_of_what_is_sent(placed: Any) -> None:
    payload = describe("TestPlaced")["components"]["messages"]["TestPlaced"]["payload"]
    assert payload == {
        "type": "object",
        "properties": {
            "orderId": {"type": "string"},
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "sku": {"type": "string"},
                        "note": {"type": "string", "x-personal": True, "default": ""},
                    },
                    "required": ["sku"],
                },
            },
            "address": {"type": "object", "additionalProperties": {"type": "string"}, "x-personal": True},
            "pair": {
                "type": "array", "items": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2, "maxItems": 2,
            },
            "rates": {"type": "array", "items": {"type": "number"}},
            "amountMinor": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "currency": {"type": "string", "default": "GBP"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["orderId", "lines", "address", "pair"],
    }  # fmt: skip
    jsonschema.Draft7Validator.check_schema(payload)
    sent = dump(placed(order_id="ORD-1", lines=[Line(sku="TEA")], address={"city": "London"}, pair=(1, True)))
    jsonschema.Draft7Validator(payload).validate(sent)
    with pytest.raises(jsonschema.ValidationError, match="'orderId' is a required property"):
        jsonschema.Draft7Validator(payload).validate({name: sent[name] for name in sent if name != "orderId"})


def test_command_prints_the_same_as_yaml_and_json(placed: Any) -> None:
    printed = yaml.safe_load(run("--asyncapi", "--layout", "type"))
    assert printed == json.loads(run("--asyncapi", "--layout", "type", "--json"))
    assert printed["channels"]["TestPlaced"]["address"] == "TestPlaced"
    assert "&id" not in run("--asyncapi")  # every value in full


def test_command_prints_a_table(placed: Any) -> None:
    [line] = [line for line in run("--wide").splitlines() if line.startswith("TestPlaced")]
    assert line.split() == ["TestPlaced", "payments", "inventory", "2", "orderId", "tests", "lines[].note,", "address"]
    assert "TestPlaced" in {entry["event"] for entry in json.loads(run("--json"))}


def test_command_without_events_says_how_to_declare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncapi, "list_types", list)
    assert run() == "No app declares an event. Decorate a class with @event(...) in <app>/events.py.\n"
    assert json.loads(run("--json")) == []


def test_command_without_yaml_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(CommandError, match=r"YAML needs PyYAML.*\[events\]"):
        run("--asyncapi")
