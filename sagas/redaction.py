"""Know secrets when they are seen, by the name they go under and by their shape, and mask them.

The engine stores nothing before it went through here: errors and tracebacks, results, reasons, evidence, business
keys. Pure: no Django import. ``sagas.conf`` makes the redactor of a project from its settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from .card_numbers import HINT, is_card_value, mask_cards

# Parts of a name between underscores, as in ``client_secret``; ``cardNumber`` and ``card-number`` are read alike.
SECRET_WORDS = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "api_key", "private_key", "access_key",
    "card_number", "card_no", "security_code", "pan", "cvc", "cvv", "iban", "authorization", "cookie", "passcode",
    "session_id", "otp", "jwt",
)  # fmt: skip
# In running text these mean something else too often: "authorization: declined". Headers have rules of their own.
WORDS_OF_PROSE = frozenset({"authorization", "cookie"})
# Inside a longer word these mean nothing: "company: ...", "cardnotes". All others are known there, too: "accesstoken".
SHORT_WORDS = frozenset({"pan", "pwd", "cvc", "cvv", "iban", "card_no", "authorization", "cookie", "otp", "jwt"})
# Secrets only where a name ends with them: a "pin_code" is a postal code, an "auth_mode" a setting.
LAST_WORDS = frozenset({"pin", "auth"})
# A secret may be written in several words: what follows it on the line is masked, too, up to the next name.
PHRASES = frozenset({"password", "passwd", "passphrase"})
# What is said of a secret is none: "token_count", "secret_expires_at"; if it is a number, a date, or yes or no.
HARMLESS_WORDS = "count|left|limit|total|length|size|type|kind|ttl|expiry|expires|expires_(?:at|in)|changed_at"
HARMLESS_ENDING = re.compile(rf"_(?:{HARMLESS_WORDS})$")
HARMLESS_VALUE = (
    r"(?:[-+]?\d{1,13}(?:\.\d{1,9})?(?:\s?(?:ms|s|m|h|d|(?:second|minute|hour|day|byte|character)s?|%))?"
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[-+]\d\d:?\d\d)?)?|null|none|true|false)"
)
IS_HARMLESS = re.compile(HARMLESS_VALUE, re.IGNORECASE)
COUNTED = re.compile(r"(?:tokens|credentials|secrets)(?:_|$)")
_ASSIGNED = r"\\{0,3}[\"']?\s{0,8}(?:=>|:|=(?!=))\s{0,8}"
HARMLESS_IN_TEXT = (
    rf"[_-](?:{HARMLESS_WORDS}){_ASSIGNED}"
    rf"(?:\\{{0,3}}[\"']?{HARMLESS_VALUE}(?=[\s\"'\\,;&<>(){{}}\[\]]|\.?(?:\s|\Z))|datetime\.\w{{1,20}}\(|timedelta\()"
)
# A name and its value in two places: ``{"name": "password", "value": "hunter2"}``.
NAME_KEYS = frozenset({"name", "key", "field", "header", "parameter"})
VALUE_KEYS = frozenset({"value", "values", "content", "data"})

NAMED, CARD = "secret", "card number"
KIND = re.compile(r"[a-z][a-z ]{0,39}")
MASKED = re.compile(r"\[redacted: [a-z][a-z ]{0,39}\]")
MASK_START = "[redacted: "
MIN_SECRET_CHARS = 7  # "pwd=abc"; what is shorter is not looked at
MIN_COUNT = 10**12  # no number of things is as large
MAX_TEXT_CHARS = 100_000  # of a longer text the middle goes unread, and is left out
NAMES_REMEMBERED = 1024
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Describe one shape of a secret in a text."""

    kind: str
    """What the mask says it was."""
    pattern: re.Pattern[str]
    """Where it is: the last group that matched, or everything where there is no group."""
    hints: tuple[str, ...] = ()
    """Texts in lower case, one of which every match holds; a rule without them is always tried."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Say where a secret is; never what it is."""

    path: str
    """The way to it through keys and list positions, masked itself."""
    kind: str
    """What it looks like."""


def _rule(kind: str, pattern: str, *hints: str) -> Rule:
    return Rule(kind=kind, pattern=re.compile(pattern, re.IGNORECASE), hints=hints)


_UNMASKED = r"(?!\[redacted: )"
RULES = (
    _rule(
        "private key",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        "private key-----",
    ),
    # Up to the last @ before a slash; or, where a slash is in it, up to the first: "host:8000/path" is no password.
    _rule(
        "password",
        r"[a-z][a-z0-9+.-]{1,30}://[^\s:/@\"']{0,256}:"
        r"(?:([^\s/\"']{1,256})|(?!\d{1,5}[/?#])([^\s@\"']{1,256}))@",
        "://",
    ),
    _rule(
        "token",
        r"authorization[\"'\\]{0,3}\s{0,8}[:=,]\s{0,8}[\"'\\]{0,3}"
        rf"(?:basic|bearer|token|digest|negotiate|apikey)\s{{1,8}}{_UNMASKED}([^\s\"'\\,]+)",
        "authorization",
    ),
    _rule("cookie", r"cookies?[\"'\\]{0,3}\s{0,8}[:=]\s{0,8}[\"'\\]{0,3}([^\"'\\\r\n]+)", "cookie"),
    _rule(
        "token",
        r"\b(?:basic|bearer|token)\s{1,8}((?=[^\s\"'\\,]{0,512}\d)[\w.~+/=-]{12,})",
        "basic",
        "bearer",
        "token",
    ),
    _rule(
        "token",
        r"\b(?:bearer\s{1,8}([\w.~+/-]{19,}[\w~+/-]=*)|(?:basic|token)\s{1,8}([a-z]{24,}=*))(?![^\s\"'\\,;.)}\]])",
        "basic",
        "bearer",
        "token",
    ),
    # In words, as customers write: "cvv 123", "the OTP is 123456".
    _rule(
        "secret",
        r"(?<![a-z])(?:cvv2?|cvc2?|security code)\s{1,8}(?:(?:is|was|code|number|no\.?)\s{1,4}){0,2}(\d{3,4})(?!\w)",
        "cvv",
        "cvc",
        "security code",
    ),
    _rule(
        "secret",
        r"(?<![a-z])(?:otp|passcode)\s{1,8}(?:(?:is|was|code|number|no\.?)\s{1,4}){0,2}(\d{4,8})(?!\w)",
        "otp",
        "passcode",
    ),
    _rule("token", r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?", "eyj"),
    _rule("api key", r"(?<![a-z0-9])[sr]k_(?:live|test)_\w+", "k_live_", "k_test_"),
    _rule(
        "api key",
        r"(?<![\w-])(?:sk-(?:proj|ant|svcacct|admin|or|live|test)-[\w-]{8,}|sk-[a-z0-9]{32,}|npm_[a-z0-9]{20,}(?!\w))",
        "sk-",
        "npm_",
    ),
    _rule(
        "api key",
        r"(?<![\w-])(?:whsec_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sg\.[\w-]{16,64}\.)[\w-]{8,}",
        "whsec_",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
        "sg.",
    ),
    _rule("api key", r"\b(?:A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35})\b", "akia", "asia", "aiza"),
    # PostgreSQL: Key (order_id, token)=(5, abc) already exists.
    _rule(
        "secret",
        r"\([^()]{0,200}(?:passw|passphrase|secret|token|credential|api_?key|card_?n|security_code)[^()]{0,200}\)="
        r"\((?!\[redacted: )(.{1,2000}?)\)(?=[\s.,;:]|\Z)",
        ")=(",
    ),
    _rule("secret", r"\b(?:pi|seti|cs|src)_\w{1,64}?_secret_\w+", "_secret_"),
)


@dataclass(frozen=True, kw_only=True)
class Redactor:
    """Find and mask secrets, by the built-in rules and those of a project.

    Raises: re.error when a pattern is none, at its first use.
    """

    keys: tuple[str, ...] = ()
    """More names, or parts of names, whose values are secrets."""
    patterns: Mapping[str, str] = field(default_factory=dict)
    """More shapes, as regular expressions by what the mask shall say."""
    exceptions: tuple[str, ...] = ()
    """Names whose values are no secrets, whatever they look like."""

    def is_secret_name(self, name: str) -> bool:
        """Tell whether what goes under a name is a secret."""
        return HARMLESS_ENDING.search(_write_snake(name)) is None and self._is_telling(name)

    def is_secret(self, name: str, value: Any) -> bool:
        """Tell whether this value is a secret because of the name it goes under."""
        if not _holds_something(value) or not self._is_telling(name) or _is_count(name, value):
            return False
        return not (HARMLESS_ENDING.search(_write_snake(name)) and _is_harmless(value))

    def find(self, data: Any) -> list[Finding]:
        """Return where JSON-able data hold secrets."""
        return self.mask_data(data)[1]

    def redact_data(self, data: Any) -> Any:
        """Return JSON-able data with secrets masked; the very same object when there are none."""
        return self.mask_data(data)[0]

    def mask_data(self, data: Any) -> tuple[Any, list[Finding]]:
        """Return JSON-able data with secrets masked, and where they were; the very same object when there are none."""
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
        return name not in self.exceptions and self._names.search(_write_snake(name)) is not None

    def _is_suspect(self, data: Any) -> bool:
        """Tell quickly whether a second look is worth it: nearly everything that is stored is plain."""
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
        """Tell whether this is a header or a parameter, ``["Cookie", "sid=abc"]``, and no two names."""
        if len(data) != 2 or not isinstance(data[0], str) or not isinstance(data[1], (str, int, float)):
            return False
        return self.is_secret(data[0], data[1]) and not (isinstance(data[1], str) and self._is_telling(data[1]))

    def _names_another(self, data: Mapping[Any, Any]) -> str | None:
        """Return the secret name that one value of a mapping gives to another."""
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
        """Find any hint, or as many digits as a card has in one of its groupings, in a text in lower case."""
        hints = sorted({hint for rule in self._rules for hint in rule.hints})
        return re.compile("|".join((*map(re.escape, hints), HINT)))

    @cached_property
    def _names(self) -> re.Pattern[str]:
        embedded = [word for word in SECRET_WORDS if word not in SHORT_WORDS]
        bounded = [*SHORT_WORDS, *map(_write_snake, self.keys)]
        anywhere, apart = (
            "|".join(re.escape(word).replace("_", "_?") for word in words) for words in (embedded, bounded)
        )
        last = "|".join(sorted(LAST_WORDS))
        return re.compile(
            rf"(?:(?:{anywhere})|(?:^|_)(?:{apart}))s?\d{{0,2}}(?:$|_)|(?:^|_)(?:{last})\d{{0,2}}(?:_(?:{HARMLESS_WORDS}))?$"
        )

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        own = [_own_rule(kind, pattern) for kind, pattern in self.patterns.items()]
        return (*RULES, *own, *_name_rules((*SECRET_WORDS, *self.keys)))


def mask(kind: str) -> str:
    """Return what stands for a secret."""
    return f"{MASK_START}{kind}]"


def holds_mask(data: Any) -> bool:
    """Tell whether something in JSON-able data was masked."""
    if isinstance(data, str):
        return MASK_START in data and MASKED.search(data) is not None
    if isinstance(data, Mapping):
        return any(holds_mask(key) or holds_mask(value) for key, value in data.items())
    if isinstance(data, (list, tuple)):
        return any(holds_mask(item) for item in data)
    return False


def find_mistakes(*, keys: Sequence[Any], patterns: Mapping[Any, Any], exceptions: Sequence[Any]) -> Iterator[str]:
    """Say what is wrong with a project's additions, a sentence each."""
    for name in (*keys, *exceptions):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{1,59}", name):
            yield f"{name!r} is no name of a key: letters, digits, underscores and hyphens, at least two."
    for kind, pattern in patterns.items():
        if not isinstance(kind, str) or not KIND.fullmatch(kind):
            yield f"{kind!r} is no kind of secret: lower-case letters and spaces, at most 40."
        if not isinstance(pattern, str):
            yield f"The pattern of {kind!r} is no text."
            continue
        try:
            if re.compile(pattern).search("") is not None:
                yield f"The pattern of {kind!r} finds something in an empty text, so it would mask everything."
        except re.error as error:
            yield f"The pattern of {kind!r} is no regular expression: {error}."


def _own_rule(kind: str, pattern: str) -> Rule:
    return Rule(kind=kind, pattern=re.compile(pattern))


def _name_rules(words: tuple[str, ...]) -> tuple[Rule, ...]:
    """Return what finds ``name=value`` and ``"name": "value"`` in a text, quoted, escaped or bare.

    A bare value goes on after a comma or semicolon, and that of a password after a blank, too, unless the next name
    and its value begin there.
    """
    known = [_write_snake(word) for word in words if word not in WORDS_OF_PROSE]
    long = "|".join(re.escape(word).replace("_", "[_-]?") for word in known if word not in SHORT_WORDS)
    short = "|".join(re.escape(word).replace("_", "[_-]?") for word in known if word in SHORT_WORDS)
    ending = (
        rf"s?\d{{0,2}}(?!{HARMLESS_IN_TEXT})(?:[_-][a-z0-9]{{1,40}}){{0,3}}\\{{0,3}}[\"']?"
        r"\s{0,8}(?:=>|:|=(?!=))\s{0,8}"
    )
    character, no_name = r"[^\s\"'\\,;&<>(){}\[\]]", r"(?![\w.-]{1,60}\s?[=:])"
    bare = rf"{_UNMASKED}(?!(?:null|none|true|false)\b){character}+(?:[,;]{no_name}{character}+)*"
    quoted = (
        r"[bru]{0,2}\"((?:[^\"\\]|\\.)+)\"|[bru]{0,2}'((?:[^'\\]|\\.)+)'"
        # Inside quoted text, up to the quote that is escaped as the first one was.
        r"|(?P<escape>\\{1,7})[\"']((?:[^\"'\\]|\\++(?![\"'])|(?!(?P=escape)[\"'])\\++[\"'])+)"
        r"|\w{1,60}\([\"']([^\"'\\]+)"
    )
    phrase = rf"(?:{'|'.join(sorted(PHRASES))}){ending}({bare}(?:[ \t]{{1,3}}{no_name}{character}+){{0,12}})"
    any_name = rf"(?:(?:{long})|(?<![a-z])(?:{short})){ending}(?:{quoted}|({bare}))"
    # "auth: refused" is prose, so a colon counts only after a quoted one.
    last_word = (
        rf"(?<![a-z])(?:pin\d{{0,2}}{_ASSIGNED}|auth\d{{0,2}}\\{{0,3}}(?:[\"']\s{{0,8}}(?:=>|:|=)|\s{{0,8}}=(?!=))\s{{0,8}})"
        rf"(?:{quoted}|({bare}))"
    )
    hints = tuple(dict.fromkeys(word.partition("_")[0] for word in known))
    return (
        Rule(kind=NAMED, pattern=re.compile(phrase, re.IGNORECASE), hints=("passw", "passphrase")),
        Rule(kind=NAMED, pattern=re.compile(any_name, re.IGNORECASE), hints=hints),
        Rule(kind=NAMED, pattern=re.compile(last_word, re.IGNORECASE), hints=tuple(sorted(LAST_WORDS))),
    )


@lru_cache(maxsize=1024)
def _write_snake(name: str) -> str:
    return _CAMEL.sub("_", name).replace("-", "_").lower()


def _holds_something(value: Any) -> bool:
    return value is not None and value != "" and not isinstance(value, bool) and value != mask(NAMED)


def _is_harmless(value: Any) -> bool:
    """Tell whether this may be said of a secret: a number, or a text of one, or a date."""
    if isinstance(value, str):
        return IS_HARMLESS.fullmatch(value) is not None
    return isinstance(value, (int, float)) and not is_card_value(value)


def _is_count(name: str, value: Any) -> bool:
    """Tell whether a plural names a number of things: ``{"total_tokens": 812}``."""
    return type(value) is int and value < MIN_COUNT and COUNTED.search(_write_snake(name)) is not None


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
"""What knows the built-in rules alone."""
