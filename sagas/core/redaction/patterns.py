"""Patterns of secrets: their names, and their forms in a text.

Holds the built-in rules, and compiles them together with a project's own words. ``sagas.core.redaction.redactor``
masks what they find.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .card_numbers import is_card_value

# Parts of a name between underscores, as in ``client_secret``; ``cardNumber`` and ``card-number`` count, too.
SECRET_WORDS = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "api_key", "private_key", "access_key",
    "card_number", "card_no", "security_code", "pan", "cvc", "cvv", "iban", "authorization", "cookie", "passcode",
    "session_id", "otp", "jwt",
)  # fmt: skip
# These often mean something else in prose: "authorization: declined". Headers have their own rules.
WORDS_OF_PROSE = frozenset({"authorization", "cookie"})
# Not secrets inside a longer word: "company: ...", "cardnotes". All others are matched there, too: "accesstoken".
SHORT_WORDS = frozenset({"pan", "pwd", "cvc", "cvv", "iban", "card_no", "authorization", "cookie", "otp", "jwt"})
# Secrets only at the end of a name: a "pin_code" is a postal code, an "auth_mode" a setting.
LAST_WORDS = frozenset({"pin", "auth"})
# Their values may have several words: the rest of the line is masked, too, up to the next name.
PHRASES = frozenset({"password", "passwd", "passphrase"})
# Metadata about a secret ("token_count", "secret_expires_at") is not masked if it is a number, date, boolean or null.
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
NAMED = "secret"
MIN_COUNT = 10**12  # larger than any count
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One form of a secret in a text."""

    kind: str
    """The kind of secret that the mask names."""
    pattern: re.Pattern[str]
    """The expression whose last matched group is the secret, or the whole match if it has no group."""
    hints: tuple[str, ...] = ()
    """Lower-case texts, one of which every match contains; a rule without hints is always tried."""


def _rule(kind: str, pattern: str, *hints: str) -> Rule:
    return Rule(kind=kind, pattern=re.compile(pattern, re.IGNORECASE), hints=hints)


_UNMASKED = r"(?!\[redacted: )"
RULES = (
    _rule(
        "private key",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        "private key-----",
    ),
    # Up to the last @ before a slash; a password with a slash, up to the first @. "host:8000/path" is no password.
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
    # In prose, as customers write it: "cvv 123", "the OTP is 123456".
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


def compile_names(keys: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern that finds a secret word, built-in or a project's own, in a name in snake case."""
    embedded = [word for word in SECRET_WORDS if word not in SHORT_WORDS]
    bounded = [*SHORT_WORDS, *map(write_snake, keys)]
    anywhere, apart = ("|".join(re.escape(word).replace("_", "_?") for word in words) for words in (embedded, bounded))
    last = "|".join(sorted(LAST_WORDS))
    return re.compile(
        rf"(?:(?:{anywhere})|(?:^|_)(?:{apart}))s?\d{{0,2}}(?:$|_)|(?:^|_)(?:{last})\d{{0,2}}(?:_(?:{HARMLESS_WORDS}))?$"
    )


def make_name_rules(keys: tuple[str, ...]) -> tuple[Rule, ...]:
    """Return the rules that find ``name=value`` and ``"name": "value"`` in a text, quoted, escaped or bare.

    A bare value continues after a comma or semicolon, and a password's also after a blank, unless the next name and
    its value begin there.
    """
    known = [write_snake(word) for word in (*SECRET_WORDS, *keys) if word not in WORDS_OF_PROSE]
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
        # Inside quoted text, up to the quote with the same escape as the first one.
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
def write_snake(name: str) -> str:
    """Return a name of any spelling in snake case, such as ``card_number``."""
    return _CAMEL.sub("_", name).replace("-", "_").lower()


def ends_harmlessly(name: str) -> bool:
    """Return whether a name ends like metadata about a secret, such as ``token_count``."""
    return HARMLESS_ENDING.search(write_snake(name)) is not None


def is_harmless(value: Any) -> bool:
    """Return whether a value is harmless metadata: a number, or the text of a number, date, boolean or null."""
    if isinstance(value, str):
        return IS_HARMLESS.fullmatch(value) is not None
    return isinstance(value, (int, float)) and not is_card_value(value)


def is_count(name: str, value: Any) -> bool:
    """Return whether a plural name has a count as its value: ``{"total_tokens": 812}``."""
    return type(value) is int and value < MIN_COUNT and COUNTED.search(write_snake(name)) is not None
