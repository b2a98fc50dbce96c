"""The body of a request in projects that keep the REST framework's own JSON parser: bounded in size and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from ..exceptions import InputRefused
from ..json_values import parse_json

MAX_BODY_BYTES = 256 * 1024  # a result of the default size, with everything around it escaped


class LimitedJSONParser(JSONParser):
    """Parse a body that no depth and no number brings down."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the body's value.

        Raises: ParseError.
        """
        raw = stream.read(MAX_BODY_BYTES + 1)
        try:
            return parse_json(bytes(raw).decode("utf-8"), "The body", MAX_BODY_BYTES)
        except (UnicodeDecodeError, InputRefused) as error:
            raise ParseError(str(error)) from error
