"""The operators' API reads bodies with limits also in projects that keep the REST framework's own parser."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rest_framework.exceptions import ParseError
from rest_framework.parsers import FormParser, JSONParser

from sagas.api.parsers import MAX_BODY_BYTES, LimitedJSONParser
from sagas.api.views import SagaListView


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number has 5000 digits"),
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b"\xff", "utf-8"),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', "at most 262144"),
    ],
)
def test_bodies_that_bring_parsers_down_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(ParseError, match=why):
        LimitedJSONParser().parse(io.BytesIO(body))


def test_a_body_is_read() -> None:
    assert LimitedJSONParser().parse(io.BytesIO('{"reason": "grün"}'.encode())) == {"reason": "grün"}


def test_the_frameworks_parser_is_replaced_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(JSONParser):
        """Be a project's own parser."""

    view: Any = SagaListView()
    monkeypatch.setattr(view, "parser_classes", [JSONParser, FormParser, Own])
    assert [type(parser) for parser in view.get_parsers()] == [LimitedJSONParser, FormParser, Own]
