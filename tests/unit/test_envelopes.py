"""Message envelopes: strictly validated, and malformed parts are named."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from sagas.worker.envelopes import BODY_MAX_BYTES, MalformedMessage, read_envelope

SAGA = "01a22413-3bad-72aa-87a0-acd83a93cca0"
ID = "3f0c4c1e-5f5c-4b43-9c5f-0a3d7a5a7c55"


@dataclass
class Taken:
    """Kombu message."""

    body: Any = field(default_factory=lambda: json.dumps([[SAGA], {}, {}]))
    headers: Any = field(default_factory=lambda: {"task": "sagas.advance", "id": ID})
    properties: Any = field(default_factory=dict)
    content_type: Any = "application/json"
    content_encoding: Any = "utf-8"


def with_header(name: str, value: Any) -> Taken:
    return Taken(headers={"task": "sagas.advance", "id": ID, name: value})


def fault_of(message: Taken, payload: Any = None) -> str:
    with pytest.raises(MalformedMessage) as caught:
        read_envelope(message, payload)
    return str(caught.value)


def test_celery_message_is_accepted() -> None:
    headers = {
        "lang": "py", "task": "sagas.advance", "id": ID, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": "root", "parent_id": "parent",
        "argsrepr": "['x']", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {}, "sagas_queue": "slow",
    }  # fmt: skip
    found = read_envelope(Taken(headers=headers, properties={"reply_to": "", "correlation_id": ID, "priority": 0}))

    assert (str(found.saga_id), found.message_id, found.queue) == (SAGA, ID, "slow")
    assert (found.root_id, found.parent_id, found.origin, found.extras) == ("root", "parent", "gen1@host", {})


@pytest.mark.parametrize("payload_in_headers", [True, False])
def test_protocol_1_message_is_accepted(payload_in_headers: bool) -> None:
    payload = {"task": "sagas.advance", "id": ID, "args": [SAGA], "kwargs": {}, "utc": True, "timelimit": [None, None]}
    headers = {"task": "sagas.advance", "id": ID} if payload_in_headers else {}

    assert str(read_envelope(Taken(headers=headers), payload).saga_id) == SAGA


def test_celery_receives_only_ids_from_the_sender() -> None:
    honest = {"eta": "2030-01-01T00:00:00", "expires": "2001-01-01T00:00:00", "timelimit": [5, 4], "retries": 7}
    found = read_envelope(Taken(headers={"task": "sagas.advance", "id": ID, **honest}))

    headers = found.as_headers("sagas.advance", ["sagas"])
    assert {name: headers[name] for name in honest} == {
        "eta": None, "expires": None, "timelimit": [None, None], "retries": 0,
    }  # fmt: skip
    assert headers["sagas_served"] == ["sagas"]
    assert json.loads(found.as_body()) == [[SAGA], {}, {}]


def test_only_plain_tracing_headers_are_kept() -> None:
    theirs = {"traceparent": "00-ab-cd-01", "sentry-task-enqueued-time": 1.5, "headers": {"baggage": "a=b"}}
    harmful = {"called_directly": True, "update": 5, "sagas_served": ["all"], "nested": {"a": 1}, "long": "x" * 9000}
    found = read_envelope(Taken(headers={"task": "sagas.advance", "id": ID, **theirs, **harmful}))

    assert found.extras == theirs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timelimit", ["x", "y"]), ("timelimit", [1]), ("timelimit", [float("nan"), None]), ("timelimit", 5),
        ("timelimit", {"a": 1}), ("timelimit", [10**30, 1]), ("timelimit", [-1, None]), ("timelimit", [True, None]),
        ("expires", "soon"), ("expires", 5), ("eta", ["x"]), ("eta", "\x00"), ("retries", "x"), ("retries", -1),
        ("retries", 1.5), ("retries", True), ("group", {}), ("root_id", ["x"]), ("parent_id", 5), ("origin", []),
        ("id", ["x"]), ("id", "\x00"), ("id", "\ud800"), ("id", "x" * 256), ("lang", {}), ("shadow", ["x"]),
        ("stamps", ["x"]), ("stamped_headers", "x"), ("stamped_headers", [[]]), ("ignore_result", "yes"),
        ("replaced_task_nesting", "x"), ("argsrepr", 5), ("kwargsrepr", []), ("headers", []), ("compression", []),
        ("sagas_queue", ["x"]), ("meth", 1), ("taskset", {}), ("utc", "x"), ("group_index", "x"),
    ],
)  # fmt: skip
def test_invalid_header_is_named(name: str, value: Any) -> None:
    assert fault_of(with_header(name, value)) == f"its header {name!r} is an invalid {type(value).__name__}"


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**4299])
def test_numbers_too_large_for_a_float_are_dropped(value: int) -> None:
    assert fault_of(with_header("timelimit", [value, None])) == "its header 'timelimit' is an invalid list"
    assert fault_of(with_header("retries", value)) == "its header 'retries' is an invalid int"
    assert read_envelope(with_header("attempt", value)).extras == {}
    assert read_envelope(with_header("headers", {"attempt": value})).extras == {}


@pytest.mark.parametrize("value", ["", None])
def test_message_needs_an_id(value: Any) -> None:
    assert fault_of(with_header("id", value)) == "it has no header 'id'"


@pytest.mark.parametrize(
    ("name", "value"), [("reply_to", ["x"]), ("correlation_id", 5), ("priority", "x"), ("delivery_info", "x")]
)
def test_invalid_property_is_named(name: str, value: Any) -> None:
    fault = f"its property {name!r} is an invalid {type(value).__name__}"
    assert fault_of(Taken(properties={name: value})) == fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (None, "its body has the wrong type NoneType"),
        ({}, "its body has the wrong type dict"),
        (b"\xff\xfe", "its body is not JSON"),
        ("[" * BODY_MAX_BYTES, "its body is not JSON"),
        ("[" * (BODY_MAX_BYTES + 1), f"its body is larger than {BODY_MAX_BYTES} bytes"),
        ("5", "its body is not a list of arguments, keywords and options"),
        ("[[], {}, {}, {}]", "its body is not a list of arguments, keywords and options"),
        ("[1, 2, 3]", "its arguments are not a list and a mapping"),
        ("[[], {}, {}]", "it does not name exactly one saga"),
        (f'[["{SAGA}", "{SAGA}"], {{}}, {{}}]', "it does not name exactly one saga"),
        (f'[["{SAGA}"], {{"saga_id": "{SAGA}"}}, {{}}]', "it does not name exactly one saga"),
        (f'[[], {{"saga": "{SAGA}"}}, {{}}]', "it does not name exactly one saga"),
        ('[["x"], {}, {}]', "the id of its saga is not a UUID"),
        ("[[5], {}, {}]", "the id of its saga is not a UUID"),
        (f'[["{SAGA}"], {{}}, []]', "its options are not a mapping"),
        (f'[["{SAGA}"], {{}}, {{"chord": []}}]', "its option 'chord' is an invalid list"),
        (f'[["{SAGA}"], {{}}, {{"chain": "x"}}]', "its option 'chain' is an invalid str"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_invalid_body_is_reported(body: Any, fault: str) -> None:
    assert fault_of(Taken(body=body)) == fault


@pytest.mark.parametrize("content_type", ["application/data", "application/x-python-serialize", None, 5, []])
def test_another_content_type_is_refused(content_type: Any) -> None:
    assert fault_of(Taken(content_type=content_type)) == "its content type is not application/json"


@pytest.mark.parametrize("encoding", ["zlib_codec", "rot13", "utf-16", 5, ["utf-8"]])
def test_another_encoding_is_refused(encoding: Any) -> None:
    assert fault_of(Taken(content_encoding=encoding)) == "its content encoding is not utf-8"


def test_headers_and_properties_must_be_mappings() -> None:
    assert fault_of(Taken(headers=[1])) == "its headers are not a mapping"
    assert fault_of(Taken(properties=[1])) == "its properties are not a mapping"
