"""Private PostgreSQL for a whole test run, started before Django reads its settings.

A pytest plugin, named in ``addopts``: a conftest would come too late. The workers of pytest-xdist find the server of
the process that started them in the environment.
"""

import os
from collections.abc import Generator
from urllib.parse import urlsplit, urlunsplit

import pytest

from config.local.postgres import LocalPostgres, start_throwaway_postgres

# Set only for the run's processes, to the URL of the server's maintenance database.
SERVER_VARIABLE = "SAGAS_TEST_SERVER_URL"
PARTICIPANTS = ("payments", "inventory", "shipping")

# Variables of a developer's shell that tests must not see.
SETTINGS_OF_OTHERS = (
    "ALLOWED_HOSTS", "CELERY_BROKER_URL", "CELERY_TASK_TIME_LIMIT", "CHECKOUT_COORDINATION",
    "CHECKOUT_RATE", "CSRF_TRUSTED_ORIGINS",
    "DATABASE_POOL_SIZE", "DATABASE_STATEMENT_TIMEOUT", "DEBUG", "DEFAULT_FROM_EMAIL",
    "EMAIL_URL", "EVENTS_BARE_TOPICS", "EVENTS_LAYOUT", "EVENTS_PARTICIPANTS", "EVENTS_PREFIX", "EVENTS_URL",
    "HSTS_SECONDS", "HTTPS_ONLY",
    "INVENTORY_DATABASE_URL", "LOG_FORMAT", "LOG_IN_ACCOUNT_RATE", "LOG_IN_ADDRESS_RATE", "LOG_IN_RATE", "LOG_LEVEL",
    "NUM_PROXIES", "OPERATOR_RATE", "PAYMENTS_DATABASE_URL", "PAYMENT_GATEWAY", "SAGAS", "SHIPPING_DATABASE_URL",
    "STATIC_ROOT", "STRIPE_API_BASE", "STRIPE_API_KEY", "WEB_THREADS",
)  # fmt: skip

_server: list[LocalPostgres] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    """Prepare server and environment before pytest-django loads the settings."""
    if SERVER_VARIABLE not in os.environ:
        prepare_environment()
    return (yield)


def pytest_unconfigure() -> None:
    """Stop the server in the process that started it."""
    while _server:
        _server.pop().process.stop()
        del os.environ[SERVER_VARIABLE]


def prepare_environment() -> None:
    """Start the server unless DATABASE_URL names one, and describe the test project in the environment."""
    for name in SETTINGS_OF_OTHERS:
        os.environ.pop(name, None)
    if "DATABASE_URL" not in os.environ:
        server = start_throwaway_postgres()
        _server.append(server)
        os.environ["DATABASE_URL"] = server.url_of("sagas")
    os.environ[SERVER_VARIABLE] = url_of_database("postgres")
    os.environ.update(
        SECRET_KEY="only-for-tests",
        ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
        HTTPS_ONLY="off",
        CELERY_BROKER_URL="memory://",
        EXTRA_APPS="benchmarks",
        # Tests decide when a worker runs.
        SAGAS='{"WAKEUP": "none"}',
        LOG_LEVEL="WARNING",
    )
    if count_databases() == 1 + len(PARTICIPANTS):
        for participant in PARTICIPANTS:
            os.environ[f"{participant.upper()}_DATABASE_URL"] = url_of_database(f"sagas_{participant}")


def count_databases() -> int:
    """Return how many databases the participants use: one, or one for each and the main one."""
    count = int(os.environ.get("SAGAS_TEST_DATABASES", "1"))
    if count not in {1, 1 + len(PARTICIPANTS)}:
        raise pytest.UsageError(f"SAGAS_TEST_DATABASES is {count}. Use 1 or {1 + len(PARTICIPANTS)}.")
    return count


def url_of_database(name: str) -> str:
    """Return the URL of another database on the run's server."""
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
