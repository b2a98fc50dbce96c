"""Failure groups: failures that differ in values only share a key."""

import time

import pytest

from sagas.core.error_groups import describe_pattern, identify_group
from sagas.core.states import Direction

HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}'\"&\x00\u202e"


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("", ""),
        ("The airline is closed.", "The airline is closed."),
        ("Order ORD-00017 not found", "Order # not found"),
        ("No answer from 10.0.0.7:5432 after 2.5 s.", "No answer from # after # s."),
        ("Charge pi_3NxQ failed: code 402.", "Charge # failed: code #."),
        ("at 2026-11-20T03:00:00.123+00:00: late", "at #: late"),
        ("key 0198f3a2-5c1e-7000-8000-000000000000 is taken", "key # is taken"),
        ("token deadbeefcafe expired", "token # expired"),
        ("a face in a cafe", "a face in a cafe"),
        ("No seat 'for Ada' in \"row A\" of `coach`", "No seat '…' in '…' of '…'"),
        ("can't reach it, don't ask", "can't reach it, don't ask"),
        ("one\n  two\tthree", "one two three"),
        ("GET https://pay.example/v1/charges?id=7 failed", "GET # failed"),
        ("\u0663 seats", "# seats"),
    ],
)
def test_values_are_ignored(message: str, pattern: str) -> None:
    assert describe_pattern(message) == pattern


def key(**changes: object) -> str:
    facts = {
        "definition": "trip", "step": "pay", "direction": Direction.ACTION, "error_class": "bank.Down",
        "message": "Bank 7 is closed.",
    }  # fmt: skip
    return identify_group(**{**facts, **changes})  # type: ignore[arg-type]


def test_same_failure_always_has_the_same_key() -> None:
    assert key() == key(message="Bank 8 is closed.") == "7beb22628f973ea8"


@pytest.mark.parametrize(
    "change",
    [
        {"definition": "tour"}, {"step": "fly"}, {"direction": Direction.COMPENSATION}, {"error_class": "bank.Up"},
        {"message": "Bank 7 is open."}, {"message": HOSTILE},
    ],
)  # fmt: skip
def test_other_failure_has_another_key(change: dict[str, object]) -> None:
    assert key(**change) != key()
    assert len(key(**change)) == 16


@pytest.mark.parametrize("message", ["'" * 100_000, "a" * 100_000, "1a" * 50_000, "\"`'" * 30_000, "\ud800"])
def test_any_message_has_a_key(message: str) -> None:
    began = time.thread_time()

    assert len(key(message=message.encode("utf-8", "replace").decode())) == 16
    assert time.thread_time() - began < 1.0
