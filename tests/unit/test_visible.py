"""Hidden characters: shown as escapes, and not counted as visible."""

import json

import pytest

from sagas.core.visible import count_visible, show_invisible

SHOWN = {
    "plain text": "plain text",
    "Müller, 東京, עברית, 👍": "Müller, 東京, עברית, 👍",
    "two\u00a0words": "two\u00a0words",
    "\x1b]0;x\x07\x1b[2J": "\\u001b]0;x\\u0007\\u001b[2J",
    "a\nb\tc\rd": "a\\nb\\tc\\rd",
    "\u202efdp.exe": "\\u202efdp.exe",
    "a\u2066b\u2069\u200e\u200f\u061c": "a\\u2066b\\u2069\\u200e\\u200f\\u061c",
    "a\u200bb\u200c\u200d\ufeff\u00ad\u2060": "a\\u200bb\\u200c\\u200d\\ufeff\\u00ad\\u2060",
    "a\u2028b\u2029\x85": "a\\u2028b\\u2029\\u0085",
    "x\U000e0041\U000e0100\ufe0f": "x\\udb40\\udc41\\udb40\\udd00\\ufe0f",
    "\u3164\u115f\u2800": "\\u3164\\u115f\\u2800",
    "\x00\ud800\ue000\uffff": "\\u0000\\ud800\\ue000\\uffff",
    "\u0301acute": "\\u0301acute",
    "\u0301" * 2_000: "\\u0301" + "\u0301" * 1_999,
    "e\u0301": "e\u0301",
    "": "",
}


@pytest.mark.parametrize("text", SHOWN)
def test_invisible_character_is_an_escape(text: str) -> None:
    assert show_invisible(text) == SHOWN[text]
    assert show_invisible(SHOWN[text]) == SHOWN[text]


def test_block_of_text_keeps_its_lines() -> None:
    assert show_invisible("a\n\tb\r\x0c\u202ec", keep_lines=True) == "a\n\tb\\r\\u000c\\u202ec"


def test_json_text_keeps_its_value() -> None:
    value = {"a\u202e": "\u200b\U000e0041\x85\u2028", "b": ["é", "\ufeff"]}
    text = json.dumps(value, ensure_ascii=False)

    assert json.loads(show_invisible(text, keep_lines=True)) == value


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("ten or more", 9), ("  ", 0), ("\u200b" * 40, 0), ("\u202e\x1b\n\t", 0), ("e\u0301\u0301\u0301", 1),
        ("\u0301" * 12, 0), ("\u00a0\u2003\u3000", 0), ("\u3164\u2800\ufe0f", 0), ("東京の銀行", 5), ("…!?👍", 4),
        ("\U00016fe4", 0), ("\U000e0041" * 20, 0), ("नमस्ते", 4), ("", 0),
    ],
)  # fmt: skip
def test_only_visible_characters_are_counted(text: str, count: int) -> None:
    assert count_visible(text) == count
