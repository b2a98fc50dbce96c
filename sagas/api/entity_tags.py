"""Entity tags of JSON answers.

Source: RFC 9110, section 13.1.2.
"""

import hashlib
import json
import re
from typing import Any

ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def make_entity_tag(body: Any) -> str:
    """Return a strong validator of a JSON body."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
    return f'"{digest[:32]}"'


def matches_entity_tag(value: str | None, tag: str) -> bool:
    """Return whether an If-None-Match header names the tag, by weak comparison."""
    if value is None:
        return False
    return value.strip() == "*" or tag in ENTITY_TAG.findall(value)
