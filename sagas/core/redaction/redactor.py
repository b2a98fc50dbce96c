"""Redactor: finds secrets in data that is about to be stored, and masks them.

The engine redacts everything before it is stored: errors and tracebacks, results, reasons, evidence, business keys.
``sagas.core.redaction.patterns`` defines the patterns of secrets. ``sagas.conf`` makes a project's redactor from its
settings. Pure: no Django import.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from .card_numbers import HINT, is_card_value, mask_cards
from .patterns import (
    NAMED,
    RULES,
    Rule,
    compile_names,
    ends_harmlessly,
    is_count,
    is_harmless,
    make_name_rules,
    write_snake,
)

# Name and value in two entries: ``{"name": "password", "value": "hunter2"}``.
NAME_KEYS = frozenset({"name", "key", "field", "header", "parameter"})
VALUE_KEYS = frozenset({"value", "values", "content", "data"})

CARD = "card number"
KIND = re.compile(r"[a-z][a-z ]{0,39}")
MASKED = re.compile(r"\[redacted: [a-z][a-z ]{0,39}\]")
MASK_START = "[redacted: "
MIN_SECRET_CHARS = 7  # "pwd=abc"; shorter texts are not searched
MAX_TEXT_CHARS = 100_000  # the middle of a longer text is dropped unread
NAMES_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Place and kind of a secret, never its value."""

    path: str
    """The path to the secret through keys and list positions; secrets in it are masked."""
    kind: str
    """The kind of secret."""


@dataclass(frozen=True, kw_only=True)
class Redactor:
    """Redactor that finds and masks secrets by the built-in rules and a project's own.

    Raises: re.error on first use when a pattern is invalid.
    """

    keys: tuple[str, ...] = ()
    """Additional names, or parts of names, whose values are secrets."""
    patterns: Mapping[str, str] = field(default_factory=dict)
    """Additional patterns: regular expressions by the kind that the mask names."""
    exceptions: tuple[str, ...] = ()
    """Names whose values are never secrets, whatever they look like."""

    def is_secret_name(self, name: str) -> bool:
        """Return whether the values of a name are secrets."""
        return not ends_harmlessly(name) and self._is_telling(name)

    def is_secret(self, name: str, value: Any) -> bool:
        """Return whether a value is a secret because of its name."""
        if not _holds_something(value) or not self._is_telling(name) or is_count(name, value):
            return False
        return not (ends_harmlessly(name) and is_harmless(value))

    def find(self, data: Any) -> list[Finding]:
        """Return the places and kinds of secrets in JSON-able data."""
        return self.mask_data(data)[1]

    def redact_data(self, data: Any) -> Any:
        """Return JSON-able data with secrets masked; the same object when there are none."""
        return self.mask_data(data)[0]

    def mask_data(self, data: Any) -> tuple[Any, list[Finding]]:
        """Return JSON-able data with secrets masked, and the findings; the same object when there are none."""
        if not self._is_suspect(data):
            return data, []
        found: list[Finding] = []
        return self._mask(data, "", found), found

    def redact_text(self, text: str) -> str:
        """Return a text with secrets masked."""
        if len(text) > MAX_TEXT_CHARS:
            half = MAX_TEXT_CHARS // 2
            text = f"{text[:half]}\n...\n{text[-half:]}"
        if not self._is_suspect(text):
            return text
        lowered = text.lower()
        for rule in self._rules:
            if not rule.hints or any(hint in lowered for hint in rule.hints):
                text = rule.pattern.sub(lambda match, rule=rule: _mask_match(match, rule.kind), text)  # type: ignore[misc]
        return mask_cards(text, mask(CARD))

    def _is_telling(self, name: str) -> bool:
        return name not in self.exceptions and self._names.search(write_snake(name)) is not None

    def _is_suspect(self, data: Any) -> bool:
        """Return quickly whether data may hold a secret, since nearly all stored data hold none."""
        if isinstance(data, str):
            return len(data) >= MIN_SECRET_CHARS and (
                bool(self.patterns) or self._hints.search(data.lower()) is not None
            )
        if isinstance(data, dict):
            return (
                any(
                    self._is_suspect(value) or not isinstance(key, str) or self._is_suspect_name(key)
                    for key, value in data.items()
                )
                or self._names_another(data) is not None
            )
        if isinstance(data, (list, tuple)):
            return any(self._is_suspect(item) for item in data) or self._is_secret_pair(data)
        if type(data) in (int, float):
            return is_card_value(data)
        return isinstance(data, Mapping)

    def _is_secret_pair(self, data: Sequence[Any]) -> bool:
        """Return whether this is a header or parameter, ``["Cookie", "sid=abc"]``, and not a list of two names."""
        if len(data) != 2 or not isinstance(data[0], str) or not isinstance(data[1], (str, int, float)):
            return False
        return self.is_secret(data[0], data[1]) and not (isinstance(data[1], str) and self._is_telling(data[1]))

    def _names_another(self, data: Mapping[Any, Any]) -> str | None:
        """Return the secret name that one entry of a mapping gives to another entry's value, if any."""
        for key, name in data.items():
            if isinstance(key, str) and isinstance(name, str) and key.lower() in NAME_KEYS and self._is_telling(name):
                return name
        return None

    def _mask(self, data: Any, path: str, found: list[Finding]) -> Any:
        if isinstance(data, str):
            masked = self.redact_text(data)
            if masked != data:
                found += [Finding(path=path, kind=kind) for kind in _new_kinds(data, masked)]
            return masked
        if isinstance(data, Mapping):
            return self._mask_mapping(data, path, found)
        if isinstance(data, (list, tuple)):
            if self._is_secret_pair(data):
                found.append(Finding(path=f"{path}[1]", kind=NAMED))
                return [self._mask(data[0], f"{path}[0]", found), mask(NAMED)]
            items = [self._mask(item, f"{path}[{place}]", found) for place, item in enumerate(data)]
            is_same = all(one is other for one, other in zip(items, data, strict=True))
            return data if is_same else items
        if is_card_value(data):
            found.append(Finding(path=path, kind=CARD))
            return mask(CARD)
        return data

    def _mask_mapping(self, data: Mapping[Any, Any], path: str, found: list[Finding]) -> Any:
        masked: dict[Any, Any] = {}
        is_same, another = True, self._names_another(data)
        for key, value in data.items():
            name = self.redact_text(key) if isinstance(key, str) else key
            place = f"{path}.{name}" if path else str(name)
            if name != key:
                found.append(Finding(path=place, kind=_new_kinds(key, name)[0]))
            if key in self.exceptions:
                shown = value
            elif self.is_secret(str(key), value) or (
                another is not None and str(key).lower() in VALUE_KEYS and self.is_secret(another, value)
            ):
                found.append(Finding(path=place, kind=NAMED))
                shown = mask(NAMED)
            else:
                shown = self._mask(value, place, found)
            is_same = is_same and name is key and shown is value
            masked[name] = shown
        return data if is_same else masked

    @cached_property
    def _is_suspect_name(self) -> Callable[[str], bool]:
        return lru_cache(maxsize=NAMES_REMEMBERED)(lambda name: self._is_suspect(name) or self._is_telling(name))

    @cached_property
    def _hints(self) -> re.Pattern[str]:
        """Return the pattern that finds a rule's hint, or digits that may be a card number, in a lower-case text."""
        hints = sorted({hint for rule in self._rules for hint in rule.hints})
        return re.compile("|".join((*map(re.escape, hints), HINT)))

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return compile_names(self.keys)

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        own = [Rule(kind=kind, pattern=re.compile(pattern)) for kind, pattern in self.patterns.items()]
        return (*RULES, *own, *make_name_rules(self.keys))


def mask(kind: str) -> str:
    """Return the mask that replaces a secret of a kind."""
    return f"{MASK_START}{kind}]"


def holds_mask(data: Any) -> bool:
    """Return whether JSON-able data contain a mask."""
    if isinstance(data, str):
        return MASK_START in data and MASKED.search(data) is not None
    if isinstance(data, Mapping):
        return any(holds_mask(key) or holds_mask(value) for key, value in data.items())
    if isinstance(data, (list, tuple)):
        return any(holds_mask(item) for item in data)
    return False


def find_mistakes(*, keys: Sequence[Any], patterns: Mapping[Any, Any], exceptions: Sequence[Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in a project's additions."""
    for name in (*keys, *exceptions):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{1,59}", name):
            yield f"{name!r} is not a key name: use letters, digits, underscores and hyphens, at least two."
    for kind, pattern in patterns.items():
        if not isinstance(kind, str) or not KIND.fullmatch(kind):
            yield f"{kind!r} is not a kind of secret: use lower-case letters and spaces, at most 40."
        if not isinstance(pattern, str):
            yield f"The pattern of {kind!r} is not a string."
            continue
        try:
            if re.compile(pattern).search("") is not None:
                yield f"The pattern of {kind!r} matches an empty string, so it would mask everything."
        except re.error as error:
            yield f"The pattern of {kind!r} is not a regular expression: {error}."


def _holds_something(value: Any) -> bool:
    return value is not None and value != "" and not isinstance(value, bool) and value != mask(NAMED)


def _mask_match(match: re.Match[str], kind: str) -> str:
    group = match.lastindex or 0
    start, end = match.span(group)
    start, end, whole = start - match.start(), end - match.start(), match[0]
    if MASKED.fullmatch(whole[start:end]):
        return whole
    return f"{whole[:start]}{mask(kind)}{whole[end:]}"


def _new_kinds(before: str, after: str) -> list[str]:
    known = MASKED.findall(before)
    return [shown[len(MASK_START) : -1] for shown in MASKED.findall(after) if shown not in known] or [NAMED]


DEFAULT = Redactor()
"""The redactor with the built-in rules only."""
