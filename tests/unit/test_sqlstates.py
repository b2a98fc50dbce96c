"""Classification of database errors by SQLSTATE, for either driver."""

import pytest
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError

from sagas.databases import is_away, is_beyond_statement, is_conflict


class Psycopg(Exception):
    """Error of psycopg 3."""

    def __init__(self, code: str | None) -> None:
        super().__init__("told")
        self.sqlstate = code


class Psycopg2(Exception):
    """Error of psycopg2."""

    def __init__(self, code: str | None) -> None:
        super().__init__("told")
        self.pgcode = code


def wrapped(kind: type[Exception], cause: Exception | None) -> Exception:
    error = kind("told")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("driver", [Psycopg, Psycopg2])
@pytest.mark.parametrize(
    ("kind", "code", "away", "beyond", "conflict"),
    [
        (InternalError, "25006", True, True, False),  # read only
        (InternalError, "25P02", False, False, False),  # aborted transaction
        (OperationalError, "55P03", True, False, False),  # lock time-out
        (OperationalError, "57014", True, False, False),  # statement time-out
        (OperationalError, "40P01", True, False, True),  # deadlock
        (OperationalError, "40001", True, False, True),  # serialization failure
        (OperationalError, "57P01", True, True, False),  # shut down
        (OperationalError, "53300", True, True, False),  # too many connections
        (OperationalError, None, True, True, False),  # no connection to the server
        (InterfaceError, None, True, True, False),
        (DatabaseError, "23505", False, False, False),
    ],
)
def test_errors_are_classified_by_sqlstate(
    driver: type[Exception], kind: type[Exception], code: str | None, away: bool, beyond: bool, conflict: bool
) -> None:
    error = wrapped(kind, driver(code))
    assert (is_away(error), is_beyond_statement(error), is_conflict(error)) == (away, beyond, conflict)


def test_error_without_a_driver_has_no_sqlstate() -> None:
    assert not is_conflict(wrapped(OperationalError, None))
    assert is_beyond_statement(wrapped(OperationalError, None))
