"""Values of environment variables that are more than text: a wrong one is told with its name, and the start ends."""

from __future__ import annotations

import re

from django.core.exceptions import ImproperlyConfigured

from orders.rates import parse_rate

NUMBER = re.compile(r"[0-9]{1,9}")


def read_rate(name: str, text: str) -> str:
    """Return the text of a rate, such as ``60/minute``.

    Raises: ImproperlyConfigured.
    """
    try:
        parse_rate(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error
    return text


def read_number(name: str, text: str, *, at_least: int = 0) -> int:
    """Return a whole number.

    Raises: ImproperlyConfigured.
    """
    if not NUMBER.fullmatch(text) or int(text) < at_least:
        raise ImproperlyConfigured(f"{name} is {text!a}. Write a whole number from {at_least}, in digits.")
    return int(text)
