"""Request headers to which the API gives a meaning."""

import hashlib
import re

from sagas.api.problem_documents import Problem, RequestRefused
from sagas.conf import get_settings

MAX_KEY_CHARS = 255
MAX_WAIT_SECONDS = 30
# A structured string as the draft writes it, or bare as everybody does: visible ASCII without separators.
QUOTED_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
BARE_KEY = re.compile(r"[!#-+\--:<-\[\]-~]+")
WAIT = re.compile(r'wait[ \t]*=[ \t]*"?([0-9]+)"?', re.IGNORECASE)
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def read_idempotency_key(value: str | None) -> str:
    """Return the key; of one that looks like a secret its digest, which is stored as well as the key itself.

    Raises: RequestRefused with 400 when it is missing or malformed.
    Source: IETF draft-ietf-httpapi-idempotency-key-header; RFC 9651, section 3.3.3.
    """
    if value is None:
        detail = (
            "Send an Idempotency-Key header: a string of your choice, unique per checkout, the same for its retries."
        )
        raise RequestRefused(Problem(status=400, code="idempotency-key-missing", detail=detail))
    text = value.strip(" \t")
    if quoted := QUOTED_KEY.fullmatch(text):
        key = re.sub(r'\\(["\\])', r"\1", quoted[1])
    else:
        key = text if BARE_KEY.fullmatch(text) else ""
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.strip():
        detail = f"An Idempotency-Key has 1 to {MAX_KEY_CHARS} visible ASCII characters, optionally in double quotes."
        raise RequestRefused(Problem(status=400, code="idempotency-key-malformed", detail=detail))
    is_secret = get_settings().redactor.redact_text(key) != key
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" if is_secret else key


def read_wait_seconds(value: str | None) -> int:
    """Return how long a request wants to wait, at most MAX_WAIT_SECONDS; 0 for a preference that cannot be read.

    Source: RFC 7240, sections 2 and 4.3: what is not understood is ignored, of repeated preferences the first counts.
    """
    for preference in (value or "").split(","):
        name, _, _ = preference.partition(";")
        if match := WAIT.fullmatch(name.strip(" \t")):
            digits = match[1].lstrip("0")[:4]
            return min(int(digits or "0"), MAX_WAIT_SECONDS)
    return 0


def read_traceparent(value: str | None) -> str:
    """Return the W3C trace context, or an empty string when there is none that can be read."""
    return value if value is not None and TRACEPARENT.fullmatch(value) else ""
