"""Parsers of environment variables; the error for a wrong value names the variable and aborts the start."""

import re
import warnings
from typing import Any

import environ
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
        raise ImproperlyConfigured(f"{name} is {text!a}. Write a whole number of at least {at_least}.")
    return int(text)


def read_database_url(name: str, url: str) -> dict[str, Any]:
    """Return a PostgreSQL URL in Django's form.

    Raises: ImproperlyConfigured, without the URL, which may hold a password.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            database: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        # The error's text, and so a traceback, quotes a part of the password.
        database = {}
    if database.get("ENGINE") != "django.db.backends.postgresql" or not database["NAME"]:
        raise ImproperlyConfigured(
            f"{name} cannot be read. Write postgres://user:password@host:port/name, with / @ # % ? : and spaces in user"
            " name and password percent-encoded (%2F %40 %23 %25 %3F %3A %20); or leave the password out, and set it"
            " in PGPASSWORD."
        )
    return database
