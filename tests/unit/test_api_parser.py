"""Operators' API in a project with its own REST framework parser: bodies are still limited."""

import io
from typing import Any

import pytest
from rest_framework.parsers import FormParser, JSONParser

from sagas.api.parsers import StrictJSONParser
from sagas.api.problem_documents import MEDIA_TYPE, RequestRefused
from sagas.api.problems import handle_exception
from sagas.api.views import SagaListView


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"[" * 100_000, 400, "nested deeper than 64 levels"),
        (b"[" * 65 + b"]" * 65, 400, "nested deeper than 64 levels"),
        (b'{"a": ' + b"9" * 5_000 + b"}", 422, "number_too_large"),
        (b'{"a": 1, "a": 2}', 422, "repeated_member"),
        (b'{"a": NaN}', 400, "NaN"),
        (b'{"a": "\\u0000"}', 422, "text_not_accepted"),
        (b"\xff", 400, "utf-8"),
        (b'"' + b"x" * StrictJSONParser.max_bytes + b'"', 413, "262144 bytes"),
    ],
)
def test_bodies_that_overload_parsers_are_refused(body: bytes, status: int, why: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        StrictJSONParser().parse(io.BytesIO(body))
    answer = handle_exception(refused.value, {})
    assert (answer.status_code, answer["Content-Type"]) == (status, MEDIA_TYPE)
    assert why in answer.content.decode()


def test_valid_body_is_parsed() -> None:
    assert StrictJSONParser().parse(io.BytesIO('{"reason": "grün"}'.encode())) == {"reason": "grün"}


def test_only_the_frameworks_parser_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(JSONParser):
        """Project's own parser."""

    view: Any = SagaListView()
    monkeypatch.setattr(view, "parser_classes", [JSONParser, FormParser, Own])
    assert [type(parser) for parser in view.get_parsers()] == [StrictJSONParser, FormParser, Own]
