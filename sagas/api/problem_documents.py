"""Problem documents, usable before Django is set up and without the REST framework.

Source: RFC 9457.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20


@dataclass(frozen=True, kw_only=True)
class InputError:
    """Error of one member of a body."""

    pointer: str
    """Where: a JSON pointer (RFC 6901), empty for the whole body."""
    code: str
    """A stable name."""
    detail: str
    """Human-readable text."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem document."""

    status: int
    """The HTTP status."""
    code: str
    """The stable name of the kind of problem; its ``type`` is ``urn:problem:<code>``."""
    detail: str
    """What happened and what to do, in words."""
    errors: Sequence[InputError] = ()
    """Errors of the body, each with a JSON pointer."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the document."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answer."""

    def as_document(self) -> dict[str, Any]:
        """Shape: ``{type, title, status, code, detail, errors?: [{pointer, code, detail}], ...}``."""
        document: dict[str, Any] = {
            "type": f"urn:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [
                {"pointer": error.pointer, "code": error.code, "detail": error.detail}
                for error in self.errors[:MAX_ERRORS]
            ]
        return {**document, **self.members}

    def as_response(self) -> HttpResponse:
        """Return the answer; a plain one, so that no renderer or accepted media type changes it."""
        text = json.dumps(self.as_document(), ensure_ascii=True)
        return HttpResponse(text, status=self.status, content_type=MEDIA_TYPE, headers=dict(self.headers))


class RequestRefused(Exception):
    """A problem found by a parser or in a header."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)
