"""Redaction: secrets found by name and by shape, without false positives, in linear time."""

import json
import time
from typing import Any

import pytest

from sagas.core.redaction.card_numbers import is_card_number
from sagas.core.redaction.redactor import DEFAULT, Finding, Redactor, find_mistakes, holds_mask

CARD = "[redacted: card number]"
SECRET = "[redacted: secret]"
TOKEN = "[redacted: token]"

MASKED = {
    "card in fours": ("card 4111 1111 1111 1111 declined", f"card {CARD} declined"),
    "card with hyphens": ("5105-1051-0510-5100.", f"{CARD}."),
    "card in one": ("pm_4242424242424242", f"pm_{CARD}"),
    "card of fifteen": ("3782 822463 10005", CARD),
    "card of fourteen": ("30569309025904", CARD),
    "bearer": ("Bearer abcdef123456", f"Bearer {TOKEN}"),
    "header": ("Authorization: Bearer abcdef", f"Authorization: Bearer {TOKEN}"),
    "header in a dict": ("{'Authorization': 'Token abcd'}", f"{{'Authorization': 'Token {TOKEN}'}}"),
    "header in a pair": ("('authorization', 'Basic dXNlcg==')", f"('authorization', 'Basic {TOKEN}')"),
    "cookie": ("Set-Cookie: sessionid=abc; Path=/", "Set-Cookie: [redacted: cookie]"),
    "web token": ("got eyJhbGciOiJIUzI1.eyJzdWIiOjF9.c2ln", f"got {TOKEN}"),
    "card with dots": ("4111.1111.1111.1111", CARD),
    "card with two blanks": ("4111  1111  1111  1111", CARD),
    "card with hard blanks": ("4111\xa01111\xa01111\xa01111", CARD),
    "card with hard blanks in JSON": ('{"a": "4111\\u00a01111\\u00a01111\\u00a01111"}', f'{{"a": "{CARD}"}}'),
    "card in lines": ("4111\n1111\r\n1111\n1111", CARD),
    "card in lines in JSON": ('"4111\\n1111\\n1111\\n1111"', f'"{CARD}"'),
    "card after letters": ("x4111111111111111", f"x{CARD}"),
    "card between letters": ("card4111111111111111EUR", f"card{CARD}EUR"),
    "card with its code": ("4111 1111 1111 1111 123", f"{CARD} 123"),
    "card after four digits": ("1234 4111 1111 1111 1111", f"1234 {CARD}"),
    "card in full width": ("\uff14111\uff11\uff11\uff11111111111", CARD),
    "card as a float": ("n=4111111111111111.0", f"n={CARD}.0"),
    "bearer of letters": ("Bearer abcdefghijklmnopqrstuv.", f"Bearer {TOKEN}."),
    "basic of letters": ("Basic QWxhZGRpbjpvcGVuIHNlcWxyZXQ=", f"Basic {TOKEN}"),
    "url with a slash": ("https://user:pa/ss@host/", "https://user:[redacted: password]@host/"),
    "url with two ats": ("https://user:p@ss@host/a@b", "https://user:[redacted: password]@host/a@b"),
    "code in words": ("cvv 123, CVC2 is 9876", f"cvv {SECRET}, CVC2 is {SECRET}"),
    "one-time code in words": ("your OTP is 123456!", f"your OTP is {SECRET}!"),
    "passcode": ("passcode=abc", f"passcode={SECRET}"),
    "one-time code": ("otp: 123456", f"otp: {SECRET}"),
    "pin": ("pin: 1234, PIN=99, card_pin=1", f"pin: {SECRET}, PIN={SECRET}, card_pin={SECRET}"),
    "auth": ("http_auth=abc; 'auth': 'x'", f"http_auth={SECRET}; 'auth': '{SECRET}'"),
    "web token by name": ("jwt=abc", f"jwt={SECRET}"),
    "session": ("session_id=abc&sessionId=9", f"session_id={SECRET}&sessionId={SECRET}"),
    "harmless name, secret value": (
        "password_length=hunter2 secret_type: x9",
        f"password_length={SECRET} secret_type: {SECRET}",
    ),
    "project key": ("sk-proj-abcd_efgh-1234", "[redacted: api key]"),
    "package token": ("//registry/:_x npm_" + "aB3" * 12, "//registry/:_x [redacted: api key]"),
    "stripe": ("No such key: sk_live_abc123", "No such key: [redacted: api key]"),
    "restricted": ("rk_test_51Habc", "[redacted: api key]"),
    "client secret": ("intent pi_3Kx_secret_9zY", f"intent {SECRET}"),
    "github": ("ghp_0123456789abcdefghij", "[redacted: api key]"),
    "aws": ("AKIAIOSFODNN7EXAMPLE", "[redacted: api key]"),
    "url": ("postgres://shop:pa%40ss@db:5432/x", "postgres://shop:[redacted: password]@db:5432/x"),
    "url without a user": ("redis://:hush@cache/0", "redis://:[redacted: password]@cache/0"),
    "named": ("password=hunter2&page=1", f"password={SECRET}&page=1"),
    "named in words": ("client_secret: abc", f"client_secret: {SECRET}"),
    "named in JSON": ('{"apiKey": "a\\"b", "n": 1}', f'{{"apiKey": "{SECRET}", "n": 1}}'),
    "named in Python": ("{'cvv': '123', 'n': 1}", f"{{'cvv': '{SECRET}', 'n': 1}}"),
    "named in escaped JSON": ('{\\"token\\": \\"abc\\"}', f'{{\\"token\\": \\"{SECRET}\\"}}'),
    "named, a number": ("cardNumber=1 cvv: 123", f"cardNumber={SECRET} cvv: {SECRET}"),
    "named in a call": ("f(token=Secret('abc'))", f"f(token=Secret('{SECRET}'))"),
    "in a query": ("GET /?access_token=abc&x=1", f"GET /?access_token={SECRET}&x=1"),
    "private key": (
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest",
        "[redacted: private key]\nrest",
    ),
    "private key cut off": ("-----BEGIN PRIVATE KEY-----\nabc", "[redacted: private key]"),
    "plural": ("passwords: a", f"passwords: {SECRET}"),
    "with a digit": ("cvv2=123 cvc2: 9", f"cvv2={SECRET} cvc2: {SECRET}"),
    "run together": ("accesstoken=abc", f"accesstoken={SECRET}"),
    "with a comma": ("token=Abc,123secret rest", f"token={SECRET} rest"),
    "beside another name": ("token=abc,user=5;x", f"token={SECRET},user=5;x"),
    "in several words": ("password: correct horse battery", f"password: {SECRET}"),
    "in several words, before a name": ("password=correct horse host=db1", f"password={SECRET} host=db1"),
    "in several words, in a query": ("passphrase=a b&page=1", f"passphrase={SECRET}&page=1"),
    "PostgreSQL": (
        "Key (order_id, token)=(5, s3cr(3)t) already exists.",
        f"Key (order_id, token)=({SECRET}) already exists.",
    ),
    "two": ("4111111111111111 and sk_test_x1", f"{CARD} and [redacted: api key]"),
}
LEFT_ALONE = [
    "4111111111111112", "1234567890123456", "0000000000000000", "order 20261120113136123",
    "0198f3a2-5c1e-7123-4111-411111111111", "41111111-1111-4111-8111-111111111111", "0.4111111111111111",
    "a4b4111111111111111", "ab4111111111111111ab12", "2026-11-20 11:31:36.123456", "company: Acme",
    "token authentication failed",
    "Cannot void it: authorization: it is captured", "The basic idea", "bearer of bad news", "https://host:8000/path",
    "a == b", "lease_token == token", "tokens_left 3", "token_count=5", "token-count: 5", '{"token": null}',
    "4111.1111", "IP 41.11.11.11", "https://host:8000/path/user@example.com", "ORD-4111-1111", "EUR 1,234.50",
    "shipping: 12", "spinning=4", "author: Ada", "authorize: yes", "auth: refused", "auth_mode=basic",
    "pin_code: 560001", "pinned=1", "option: 5", "sessions: 5", "session 12 began", "token_ttl=30 s",
    "secret_expires_at: 2026-11-20T10:00:00Z", '{"password_length": 12, "x": 1}', "token_count=5.",
    "sk-learn-and-more", "npm_config_registry_of_a_very_long_name", "bearer responsibilities", "a cvv check",
    "authorize_payment refused", "11:31:36.123456 4111 ms", "SKU TEA-EARL-GREY-4111",
    "2026-11-20T11:31:36.123456+00:00",
    "password=None", "Key (number)=(ORD-1) already exists.",
    "", "x", "ORD-7K2M9QXW4C1B", "pan", "spanish: x", SECRET, CARD,
]  # fmt: skip


@pytest.mark.parametrize("case", MASKED)
def test_only_the_secret_in_a_text_is_masked(case: str) -> None:
    text, expected = MASKED[case]

    assert DEFAULT.redact_text(text) == expected
    assert DEFAULT.redact_text(expected) == expected
    assert DEFAULT.redact_text(f"before {text}").startswith("before ")


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_text_that_resembles_a_secret_is_left_alone(text: str) -> None:
    assert DEFAULT.redact_text(text) == text


@pytest.mark.parametrize("name", ["card_number", "cardNumber", "card-number", "CARD_NUMBER", "the_card_number_used"])
def test_names_are_recognised_in_every_spelling(name: str) -> None:
    assert DEFAULT.is_secret_name(name)
    assert DEFAULT.redact_data({name: 5}) == {name: SECRET}


@pytest.mark.parametrize(
    "name",
    [
        "tokens", "passwords", "secrets", "api_keys", "cvv2", "cvc2", "accesstoken", "userPassword", "credential",
        "credentials", "security_code", "card_no", "cardNo", "passcode", "otp", "otp_code", "pin", "card_pin", "jwt",
        "auth", "basicAuth", "session_id", "checkoutSessionId", "password_length", "secret_type",
    ],
)  # fmt: skip
def test_names_are_recognised_in_plurals_with_digits_and_in_compounds(name: str) -> None:
    assert DEFAULT.redact_data({name: "x"}) == {name: SECRET}


@pytest.mark.parametrize(
    "data",
    [
        {"token_count": 5}, {"tokens_left": 5}, {"total_tokens": 812}, {"tokens_used": 812},
        {"secret_expires_at": "2026-11-20"}, {"company": "A"},
        {"secret_expires_at": None}, {"password_length": "12"}, {"token_ttl": 1.5}, {"token_expires": True},
        {"passenger": "A"}, {"cardnotes": "A"}, {"tokenizer": "A"},
        {"shipping": "A"}, {"spinning": "A"}, {"pinned": "A"}, {"pin_code": "560001"}, {"author": "A"},
        {"authorize": "A"}, {"authorized_at": "A"}, {"auth_mode": "A"}, {"optics": "A"}, {"sessions": "A"},
        {"sku": "TEA-4111", "amount_minor": 4111111111, "id": "0198f3a2-5c1e-7123-4111-411111111111"},
        {"name": "Ada", "value": "hunter2"}, {"name": "shipping", "value": "A"}, {"name": "token_count", "value": 5},
        [["Accept", "text/html"]], ["token", "cookie"], ["otp"], [41.5, 4111111111111112.0, float("inf")],
    ],
)  # fmt: skip
def test_metadata_of_a_secret_is_not_masked(data: Any) -> None:
    assert DEFAULT.redact_data(data) is data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (4111111111111111.0, CARD),
        (-4111111111111111, CARD),
        ([["Cookie", "sid=abc"], ["Accept", "text/html"]], [["Cookie", SECRET], ["Accept", "text/html"]]),
        ([("X-Api-Key", "abc")], [["X-Api-Key", SECRET]]),
        ({"name": "password", "value": "hunter2"}, {"name": "password", "value": SECRET}),
        ({"Key": "Set-Cookie", "Value": ["a=b"]}, {"Key": "Set-Cookie", "Value": SECRET}),
        ({"password_length": "hunter2"}, {"password_length": SECRET}),
        ({"secret_type": "hunter"}, {"secret_type": SECRET}),
        ({"token_limit": {"is": "hunter"}}, {"token_limit": SECRET}),
    ],
)
def test_secret_is_found_in_every_container(data: Any, expected: Any) -> None:
    masked, found = DEFAULT.mask_data(data)

    assert masked == expected
    assert len(found) == 1
    assert DEFAULT.mask_data(masked) == (masked, [])


def test_data_are_masked_by_name_and_shape_and_located_by_path() -> None:
    data = {
        "ok": 1,
        "cards": [4111111111111111, "4111111111111111", 41.5],
        "client": {"secret": {"deep": "x"}, "name": "A"},
        "4111111111111111": True,
    }

    masked, found = DEFAULT.mask_data(data)

    assert masked == {"ok": 1, "cards": [CARD, CARD, 41.5], "client": {"secret": SECRET, "name": "A"}, CARD: True}
    assert found == [
        Finding(path="cards[0]", kind="card number"),
        Finding(path="cards[1]", kind="card number"),
        Finding(path="client.secret", kind="secret"),
        Finding(path=CARD, kind="card number"),
    ]
    assert "4111111111111111" not in repr(found)
    assert DEFAULT.mask_data(masked) == (masked, [])


@pytest.mark.parametrize("value", [None, "", True, False])
def test_missing_secret_is_not_masked(value: Any) -> None:
    assert DEFAULT.redact_data({"token": value}) == {"token": value}


@pytest.mark.parametrize("data", [{"a": [1, {"b": "text"}], "c": None}, [1, 2], "text", 5, None, {"n": 10**30}])
def test_data_without_secrets_are_returned_unchanged(data: Any) -> None:
    assert DEFAULT.redact_data(data) is data


def test_line_of_json_stays_json() -> None:
    secrets = {"password": 'a"b', "note": "Bearer abcdef123456", "url": "amqp://u:p@h//", "n": {"api_key": "x" * 50}}

    line = DEFAULT.redact_text(json.dumps({"event": json.dumps(secrets), **secrets}))

    shown = json.loads(line)
    assert shown["password"] == SECRET
    assert json.loads(shown["event"]) == {
        "password": SECRET,
        "note": f"Bearer {TOKEN}",
        "url": "amqp://u:[redacted: password]@h//",
        "n": {"api_key": SECRET},
    }


def test_project_adds_and_removes_names_and_patterns() -> None:
    redactor = Redactor(
        keys=("loyaltyPin",),
        patterns={"badge number": r"BDG-(\d{4})", "pass phrase": "open sesame"},
        exceptions=("token",),
    )

    assert redactor.redact_data({"loyalty_pin": 1, "token": "4111111111111111"}) == {
        "loyalty_pin": SECRET,
        "token": "4111111111111111",
    }
    assert redactor.redact_text("BDG-1234: open sesame") == "BDG-[redacted: badge number]: [redacted: pass phrase]"
    assert redactor.redact_text("loyalty_pin=77") == f"loyalty_pin={SECRET}"


@pytest.mark.parametrize(
    ("additions", "expected"),
    [
        ({"keys": [5]}, "5 is not a key name"),
        ({"keys": ["a b"]}, "'a b' is not a key name"),
        ({"exceptions": [""]}, "'' is not a key name"),
        ({"patterns": {"Bad Kind": "x"}}, "'Bad Kind' is not a kind of secret"),
        ({"patterns": {"kind": 5}}, "The pattern of 'kind' is not a string"),
        ({"patterns": {"kind": "("}}, "The pattern of 'kind' is not a regular expression"),
        ({"patterns": {"kind": "x*"}}, "The pattern of 'kind' matches an empty string"),
    ],
)
def test_invalid_settings_are_named(additions: dict[str, Any], expected: str) -> None:
    [mistake] = find_mistakes(**{"keys": [], "patterns": {}, "exceptions": [], **additions})

    assert mistake.startswith(expected)


def test_card_number_needs_luhn_and_issuer() -> None:
    assert is_card_number("4111 1111 1111 1111")
    assert not is_card_number("4111 1111 1111 1112")
    assert not is_card_number("9111111111111111")


def test_masks_are_found_at_any_depth() -> None:
    assert holds_mask({"a": [{"b": f"x {CARD}"}]})
    assert holds_mask({CARD: 1})
    assert not holds_mask({"a": "[redacted]", "b": "[redacted: Anything]"})


def test_middle_of_a_huge_text_is_left_out_with_its_secrets() -> None:
    text = "a " * 100_000 + "sk_live_middle1 " + "b " * 100_000 + "sk_live_last1"

    shown = DEFAULT.redact_text(text)

    assert len(shown) < 101_000
    assert "sk_live" not in shown
    assert shown.endswith("[redacted: api key]")


NASTY = [
    "password", "token-a", "token='", 'token="', 'token="\\"', "eyJabcdefgh-", "://", "a://", "cookie", "cookie: ",
    "1234 ", "4111 1111 ", "41111111", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "basic ", "bearer 1", "pi_",
    "_secret_", "authorization: ", "password_a_b", "password\\", "password  ", "sg.", "xox", "\\\"", "password=f(",
    "4111.", "4111  ", "x4111", "4111\\n", "cvv ", "otp is ", "pin", "pin:", "auth", "auth='", "a://b:c/", "://a:b",
    "sk-proj-", "sk-", "npm_", "bearer ab", "basic a", "token_count=", "password_length=", "abc ", "x", "4", "4111/",
    "secret_type: 5",
]  # fmt: skip


@pytest.mark.parametrize("part", NASTY)
def test_redaction_takes_linear_time(part: str) -> None:
    def measure(size: int) -> float:
        text = (part * size)[:size]
        began = time.process_time()
        DEFAULT.redact_text(text)
        return time.process_time() - began

    measure(1_000)
    small, large = min(measure(5_000) for _ in range(3)), min(measure(80_000) for _ in range(2))

    # Sixteen times the text: what were quadratic would take 256 times as long.
    assert large < 96 * max(small, 0.0005)
