"""Payment card numbers in texts, in their various notations. Pure: no Django import."""

import re

MIN_CARD, END_CARD = 10**12, 10**19
# Separators of groups: one to three blanks of any kind (also as JSON escapes), or the same mark each time.
_BLANKS = r"(?:\s|\\[nrt]|\\u00a0){1,3}"
_MARK = r"[.\-\u2010-\u2015\u2212\u00b7/_]"
# Prefilter: matches wherever a text may contain a card number.
HINT = rf"\d{{4}}(?:{_BLANKS}|{_MARK})?\d{{4,6}}(?:{_BLANKS}|{_MARK})?\d{{4}}"
# Grouped as issuers do it: in fours, as American Express does, or not at all, so that no UUID is taken for a card.
# Only an ungrouped number may have letters before and after it, so that no digest is taken for one.
CARD_NUMBER = re.compile(
    r"(?<![\dA-Za-z])(?<!\d\.)(?:"
    rf"(?:(?P<fours>\d{{4}}(?:{_BLANKS}\d{{4}}){{2}}{_BLANKS}\d{{1,4}})(?P<rest>{_BLANKS}\d{{3}})?"
    rf"|(?P<marked>\d{{4}}(?P<mark>{_MARK})\d{{4}}(?P=mark)\d{{4}}(?P=mark)\d{{1,4}})(?P<marked_rest>(?P=mark)\d{{3}})?"
    rf"|(?P<fifteen>\d{{4}}(?P<gap>{_BLANKS}|{_MARK})\d{{6}}(?P=gap)\d{{4,5}}))(?![\dA-Za-z])"
    r"|[A-Za-z]{0,20}(?P<whole>\d{13,19})(?![A-Za-z]{0,20}\d)"
    r")"
)
_GROUPS = (("fours", "rest"), ("marked", "marked_rest"), ("fifteen", None), ("whole", None))
# Visa; Mastercard; American Express; Discover; Diners Club; JCB; UnionPay; Maestro.
CARD_ISSUER = re.compile(
    r"4|5[0-8]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720|3[47]|6011|64[4-9]|65|30[0-5]|36|3[89]|35(?:2[89]|[3-8]\d)"
    r"|62|6[37]"
)
_ESCAPE = re.compile(r"\\u00a0")


def is_card_number(text: str) -> bool:
    """Return whether digits, grouped or not, are a card number: by the issuer's first digits and the check digit.

    Digits of any script count. Source: ISO/IEC 7812-1 (Luhn's formula).
    """
    digits = [int(character) for character in _ESCAPE.sub("", text) if character.isdecimal()]
    if CARD_ISSUER.match("".join(map(str, digits))) is None:
        return False
    doubled = (digit * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def is_card_value(value: object) -> bool:
    """Return whether a number is a card number, as an int or as a float without a fraction."""
    if type(value) is float:
        return value.is_integer() and is_card_value(int(value))
    return type(value) is int and MIN_CARD <= abs(value) < END_CARD and is_card_number(str(value))


def mask_cards(text: str, mask: str) -> str:
    """Return a text with each card number masked; adjacent text, such as a security code, is kept."""
    shown, done, place = [], 0, 0
    while match := CARD_NUMBER.search(text, place):
        if span := _find_card(match):
            shown += [text[done : span[0]], mask]
            done = place = span[1]
        else:
            # A card number may begin at the next group.
            place = match.start() + 1
    return "".join((*shown, text[done:])) if shown else text


def _find_card(match: re.Match[str]) -> tuple[int, int] | None:
    for name, rest in _GROUPS:
        if match[name] is None:
            continue
        if rest is not None and match[rest] is not None and is_card_number(match[name] + match[rest]):
            return match.start(name), match.end(rest)
        return match.span(name) if is_card_number(match[name]) else None
    return None
