"""Text on terminals: invisible characters as escapes, tables aligned by display width."""

import json
import logging
import sys

import pytest
import structlog

from config.log_lines import RedactingFormatter, show_invisible
from sagas.core.text_tables import Column, cut, describe_table, measure
from sagas.core.visible import escape, escape_json, has_visible, take_first_line

COLUMNS = (Column(title="ID"), Column(title="STATE", least=4), Column(title="ERROR", least=6), Column(title="DUE"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Käse, 中文, ☃, 🙂, \u0627", "plain, Käse, 中文, ☃, 🙂, \u0627"),
        ("\x1b]0;x\x07\x1b[2J", "\\x1b]0;x\\x07\\x1b[2J"),
        ("a\nb\tc\rd\x00\x7f\x9b31m", "a\\nb\\tc\\rd\\x00\\x7f\\x9b31m"),
        ("\u202eabc\u2066\u061c\u200f", "\\u202eabc\\u2066\\u061c\\u200f"),
        ("\u200b\u200d\ufeff\u00ad\u2060", "\\u200b\\u200d\\ufeff\\xad\\u2060"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\ud800\udcff", "\\ud800\\udcff"),
        ("\ue000\U000f0000\U000e0041\uffff", "\\ue000\\U000f0000\\U000e0041\\uffff"),
        ("\u3164\u115f\u034f\ufe0f\u2800", "\\u3164\\u115f\\u034f\\ufe0f\\u2800"),
    ],
)
def test_invisible_characters_become_escapes(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert escape(shown) == shown


def test_kept_characters_stay() -> None:
    assert escape("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_every_character_is_either_shown_or_escaped() -> None:
    for code in range(sys.maxunicode + 1):
        shown = escape(chr(code))
        assert shown == chr(code) or (shown.isascii() and shown.isprintable())
        assert not any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 or 0x200B <= ord(one) <= 0x200F for one in shown)


def test_ascii_json_is_the_same_document() -> None:
    data = {"k\u202e": 'é 🙂 \x7f \x9b \ud800 \\ " \n', "n": [1, -2.5, None]}
    text = json.dumps(data, ensure_ascii=False, indent=2)

    shown = escape_json(text)

    assert shown.isascii()
    assert not set(shown) - set(map(chr, range(32, 127))) - {"\n"}
    assert json.loads(shown) == data


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("中文", 4), ("\uff21\uff22", 4), ("e\u0301", 1), ("각", 2), ("\u1100\u1161", 2), ("🙂", 2), ("", 0)],
)
def test_width_is_measured_in_terminal_columns(text: str, width: int) -> None:
    assert measure(text) == width


@pytest.mark.parametrize(
    ("text", "columns", "kept"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("中文字", 5, "中文…"),
        ("中文字", 4, "中…"),
        ("e\u0301bc", 2, "e\u0301…"),
    ],
)
def test_cut_text_fits(text: str, columns: int, kept: str) -> None:
    assert cut(text, columns) == kept
    assert measure(kept) <= columns


def test_blank_text_has_nothing_visible() -> None:
    for text in ("", " \t\n", "\u200b\u200b", "\u3164", "\u00a0\u2003", "\x1b", "\ufe0f"):
        assert not has_visible(text), text
    assert has_visible("\u200b.")


def test_other_line_breaks_do_not_hide_the_first_line() -> None:
    assert take_first_line("\n\r\na\u2028b\x0bc\r\nd") == "a\u2028b\x0bc"
    assert take_first_line("") == ""
    assert take_first_line("abcdef", at_most=4) == "abc…"


def test_table_is_aligned_by_display_width() -> None:
    rows = [("1", "中文", "x", "now"), ("22", "a\u0301b", "two\nlines", "\x1b[2J")]

    lines = describe_table(COLUMNS, rows, None)

    assert lines == [
        "ID  STATE  ERROR       DUE",
        "1   中文   x           now",
        "22  a\u0301b     two\\nlines  \\x1b[2J",
    ]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (80, ["ID          STATE    ERROR         DUE", "0123456789  waiting  no such host  tomorrow"]),
        (42, ["ID          STATE    ERROR        DUE", "0123456789  waiting  no such ho…  tomorrow"]),
        (33, ["ID          STATE    ERROR", "0123456789  waiting  no such host"]),
        (28, ["ID          STATE    ERROR", "0123456789  waiting  no suc…"]),
        (25, ["ID          STATE  ERROR", "0123456789  wait…  no su…"]),
        (16, ["ID          STA…", "0123456789  wai…"]),
        (5, ["ID", "0123456789"]),
    ],
)
def test_table_fits_and_its_first_column_is_complete(width: int, lines: list[str]) -> None:
    found = describe_table(COLUMNS, [("0123456789", "waiting", "no such host", "tomorrow")], width)

    assert found == lines


def format_record(message: str, exc_info: object = None, **facts: object) -> str:
    formatter = RedactingFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            show_invisible,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
    )
    record = logging.makeLogRecord({"msg": message, "exc_info": exc_info, **facts})
    return formatter.format(record)


def test_log_line_is_one_line_of_visible_characters() -> None:
    line = format_record(
        "Error:\x1b[2J\n2026-01-01 [info] forged", error="\u202ex\ny", name2="card 4242\n4242\n4242\n4242"
    )

    assert line.isprintable()
    assert "Error:\\x1b[2J\\n2026-01-01 [info] forged" in line
    assert "\\u202ex" in line
    assert "4242" not in line


def test_lines_of_a_traceback_are_indented() -> None:
    try:
        raise RuntimeError("no\n2026-01-01 [info] forged \x1b[2J")
    except RuntimeError:
        text = format_record("Failed.", exc_info=sys.exc_info())

    first, *others = text.split("\n")
    assert first.startswith("Failed.")
    assert any("2026-01-01 [info] forged \\x1b[2J" in line for line in others)
    assert all(line.startswith("    ") for line in others)
