"""Settings: read from the environment, documented in .env.example, and effective."""

import ast
import json
import logging
import logging.config
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.celery import app
from config.local import runtime
from config.local.runtime import ROOT
from sagas.core.retry import RetryPolicy
from sagas.events.declaration import LITERATURE

NEEDED = {"SECRET_KEY": "a key", "DATABASE_URL": "postgres://user:word@db:5433/main"}
OTHER_DATABASE = "postgres://user@db/other"

Settings = dict[str, Any]


def load_settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """Evaluate the settings in an environment with exactly these variables."""
    for name in names_in_example():
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "config" / "settings.py"))


def names_in_example() -> set[str]:
    """List the variables that .env.example documents."""
    return set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def names_in_code() -> set[str]:
    """List the variables that settings, entry points and gunicorn's configuration read."""
    names: set[str] = set()
    for file in ("settings.py", "gunicorn.py", "wsgi.py"):
        for node in ast.walk(ast.parse((ROOT / "config" / file).read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("env.", "os.environ.")) and node.args:
                names |= {part.value for part in node.args[:1] if isinstance(part, ast.Constant)}
    # The three participants' variables are read in one loop.
    names |= {"PAYMENTS_DATABASE_URL", "INVENTORY_DATABASE_URL", "SHIPPING_DATABASE_URL"}
    return names - {"DJANGO_SETTINGS_MODULE"}


def read_options(settings: Settings) -> dict[str, Any]:
    return dict(settings["DATABASES"]["default"]["OPTIONS"])


def read_rates(settings: Settings) -> dict[str, str]:
    return dict(settings["REST_FRAMEWORK"]["DEFAULT_THROTTLE_RATES"])


def read_mail_server(settings: Settings) -> tuple[object, object]:
    """Return host and use of TLS, in the form of Django 6.1 or the older one."""
    if "MAILERS" in settings:
        options = settings["MAILERS"]["default"]["OPTIONS"]
        return options["host"], options["use_tls"]
    return settings["EMAIL_HOST"], settings["EMAIL_USE_TLS"]


# One row for each variable: a value, and the setting it must change.
HONOURED: dict[str, tuple[str, Callable[[Settings], object], object]] = {
    "SECRET_KEY": ("another", lambda s: s["SECRET_KEY"], "another"),
    "DATABASE_URL": (OTHER_DATABASE, lambda s: s["DATABASES"]["default"]["NAME"], "other"),
    "ALLOWED_HOSTS": ("a.example,b.example", lambda s: s["ALLOWED_HOSTS"], ["a.example", "b.example"]),
    "EXTRA_APPS": ("trips,hotels", lambda s: s["INSTALLED_APPS"][-2:], ["trips", "hotels"]),
    "PAYMENTS_DATABASE_URL": (OTHER_DATABASE, lambda s: s["DATABASES"]["payments"]["NAME"], "other"),
    "INVENTORY_DATABASE_URL": (OTHER_DATABASE, lambda s: s["DATABASES"]["inventory"]["NAME"], "other"),
    "SHIPPING_DATABASE_URL": (OTHER_DATABASE, lambda s: s["DATABASES"]["shipping"]["NAME"], "other"),
    "DATABASE_STATEMENT_TIMEOUT": ("7", lambda s: "statement_timeout=7s" in read_options(s)["options"], True),
    "DATABASE_POOL_SIZE": ("5", lambda s: read_options(s)["pool"]["max_size"], 5),
    "CELERY_BROKER_URL": ("amqp://rabbit//", lambda s: s["CELERY_BROKER_URL"], "amqp://rabbit//"),
    "CELERY_TASK_TIME_LIMIT": ("60", lambda s: s["CELERY_TASK_TIME_LIMIT"], 60),
    "SAGAS": (
        '{"TIMEOUT": 2.5, "RETRY": {"attempts": 3}, "SWEEP_PAGE": 7}',
        lambda s: {name: value for name, value in s["SAGAS"].items() if name != "EVENTS"},
        {"TIMEOUT": timedelta(seconds=2.5), "RETRY": RetryPolicy(attempts=3), "SWEEP_PAGE": 7},
    ),
    "EVENTS_URL": ("rediss://valkey:6380/1", lambda s: s["SAGAS"]["EVENTS"]["URL"], "rediss://valkey:6380/1"),
    "EVENTS_LAYOUT": ("type", lambda s: s["SAGAS"]["EVENTS"]["LAYOUT"], "type"),
    "EVENTS_PREFIX": ("staging.", lambda s: s["SAGAS"]["EVENTS"]["PREFIX"], "staging."),
    "EVENTS_FOREIGN_SENDS": ("A,B", lambda s: s["SAGAS"]["EVENTS"]["FOREIGN_SENDS"], ["A", "B"]),
    "EVENTS_BARE_TOPICS": ("A,B", lambda s: s["SAGAS"]["EVENTS"]["BARE_TOPICS"], ["A", "B"]),
    "EVENTS_PARTICIPANTS": ("orders", lambda s: s["SAGAS"]["EVENTS"]["PARTICIPANTS"], ["orders"]),
    "EMAIL_URL": ("smtp+tls://mail.example:587", read_mail_server, ("mail.example", True)),
    "DEFAULT_FROM_EMAIL": ("night@a.example", lambda s: s["DEFAULT_FROM_EMAIL"], "night@a.example"),
    "CHECKOUT_COORDINATION": ("choreography", lambda s: s["CHECKOUT_COORDINATION"], "choreography"),
    "PAYMENT_GATEWAY": ("stripe", lambda s: s["PAYMENT_GATEWAY"], "stripe"),
    "STRIPE_API_KEY": ("sk_test", lambda s: s["STRIPE_API_KEY"], "sk_test"),
    "STRIPE_API_BASE": ("http://stripe.example", lambda s: s["STRIPE_API_BASE"], "http://stripe.example"),
    "DEBUG": ("on", lambda s: (s["DEBUG"], s["HTTPS_ONLY"]), (True, False)),
    "HTTPS_ONLY": ("off", lambda s: (s["SESSION_COOKIE_SECURE"], s["SECURE_SSL_REDIRECT"]), (False, False)),
    "HSTS_SECONDS": ("60", lambda s: s["SECURE_HSTS_SECONDS"], 60),
    "NUM_PROXIES": (
        "2",
        lambda s: (s["REST_FRAMEWORK"]["NUM_PROXIES"], s["SECURE_PROXY_SSL_HEADER"]),
        (2, ("HTTP_X_FORWARDED_PROTO", "https")),
    ),
    "CHECKOUT_RATE": ("1/day", lambda s: read_rates(s)["checkout"], "1/day"),
    "OPERATOR_RATE": ("1/day", lambda s: read_rates(s)["sagas"], "1/day"),
    "LOG_IN_RATE": ("1/day", lambda s: read_rates(s)["log-in"], "1/day"),
    "LOG_IN_ACCOUNT_RATE": ("1/day", lambda s: read_rates(s)["log-in-account"], "1/day"),
    "LOG_IN_ADDRESS_RATE": ("1/day", lambda s: read_rates(s)["log-in-address"], "1/day"),
    "WEB_THREADS": ("5", lambda s: s["MOST_WAITING_REQUESTS"], 2),
    "CSRF_TRUSTED_ORIGINS": ("https://a.example", lambda s: s["CSRF_TRUSTED_ORIGINS"], ["https://a.example"]),
    "STATIC_ROOT": ("/srv/static", lambda s: (s["STATIC_ROOT"], s["WHITENOISE_USE_FINDERS"]), ("/srv/static", False)),
    "LOG_FORMAT": ("json", lambda s: s["LOG_FORMAT"], "json"),
    "LOG_LEVEL": ("ERROR", lambda s: s["LOGGING"]["root"]["level"], "ERROR"),
}
HONOURED_BY_GUNICORN = {
    "BIND": ("0.0.0.0:9000", "bind", "0.0.0.0:9000"),
    "WEB_CONCURRENCY": ("3", "workers", 3),
    "WEB_THREADS": ("4", "threads", 4),
}


def test_every_setting_is_documented_and_tested() -> None:
    assert names_in_example() == names_in_code()
    assert names_in_example() == {*HONOURED, *HONOURED_BY_GUNICORN}


@pytest.mark.parametrize("name", sorted(HONOURED))
def test_setting_is_honoured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, read, expected = HONOURED[name]

    without = load_settings(monkeypatch, **NEEDED)
    with_it = load_settings(monkeypatch, **{**NEEDED, name: value})

    assert read(with_it) == expected
    try:
        default = read(without)
    except KeyError:
        return
    assert default != expected


@pytest.mark.parametrize("name", sorted(HONOURED_BY_GUNICORN))
def test_gunicorn_honours_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, setting, expected = HONOURED_BY_GUNICORN[name]
    monkeypatch.setenv(name, value)

    configuration = runpy.run_path(str(ROOT / "config" / "gunicorn.py"))

    assert configuration[setting] == expected


@pytest.mark.parametrize(("threads", "most"), [("1", 0), ("2", 1), ("3", 1), ("8", 4), ("40", 20)])
def test_some_threads_never_wait_for_a_checkout(threads: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(monkeypatch, **NEEDED, WEB_THREADS=threads)["MOST_WAITING_REQUESTS"] == most


def test_gunicorn_pools_one_connection_for_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_POOL_SIZE", raising=False)
    monkeypatch.setenv("WEB_THREADS", "5")

    assert runpy.run_path(str(ROOT / "config" / "gunicorn.py"))["raw_env"] == ["DATABASE_POOL_SIZE=5"]


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_missing_required_setting_is_named(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "RUNTIME_FILE", tmp_path / "runtime.json")
    variables = {key: value for key, value in NEEDED.items() if key != name}

    with pytest.raises(ImproperlyConfigured, match=f"{name} is not set"):
        load_settings(monkeypatch, **variables)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "SAGAS is not JSON"),
        ("[1]", "SAGAS must be a JSON object"),
        ('{"RETRY": {"attempts": 0}}', "is not a valid retry policy"),
        ('{"RETRY": {"tries": 3}}', "is not a valid retry policy"),
    ],
)
def test_broken_engine_settings_are_refused(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        load_settings(monkeypatch, **NEEDED, SAGAS=text)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "redis://127.0.0.1:6379/0"),
        ({"CELERY_BROKER_URL": "rediss://valkey:6380/0"}, "rediss://valkey:6380/0"),
        ({"CELERY_BROKER_URL": "amqp://rabbit//"}, ""),
        ({"EVENTS_URL": ""}, ""),
        ({"EVENTS_URL": "redis://a/0", "SAGAS": '{"EVENTS": {"URL": "redis://b/0"}}'}, "redis://b/0"),
    ],
)
def test_events_use_the_redis_broker_unless_told_otherwise(
    variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = load_settings(monkeypatch, **NEEDED, **variables)["SAGAS"]["EVENTS"]
    assert events == {
        "SOURCE": "/shop", "URL": url, "LAYOUT": "flow", "PREFIX": "", "BARE_TOPICS": [], "PARTICIPANTS": [],
        "FOREIGN_SENDS": list(LITERATURE),
    }  # fmt: skip


def test_settings_of_events_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"EVENTS": {"RETRY": {"attempts": 3}, "RELAY_INTERVAL": 0.5, "OPTIONS": {"keep_seconds": 60}}}'
    events = load_settings(monkeypatch, **NEEDED, SAGAS=text)["SAGAS"]["EVENTS"]
    assert (events["RETRY"], events["RELAY_INTERVAL"]) == (RetryPolicy(attempts=3), timedelta(seconds=0.5))
    assert (events["OPTIONS"], events["SOURCE"]) == ({"keep_seconds": 60}, "/shop")
    with pytest.raises(ImproperlyConfigured, match=r"SAGAS\['EVENTS'\]\['RETRY'\] is not a valid retry policy"):
        load_settings(monkeypatch, **NEEDED, SAGAS='{"EVENTS": {"RETRY": {"tries": 3}}}')


def test_unknown_log_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT is 'xml'"):
        load_settings(monkeypatch, **NEEDED, LOG_FORMAT="xml")


def test_participant_with_the_main_url_shares_the_main_database(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, **NEEDED, PAYMENTS_DATABASE_URL=NEEDED["DATABASE_URL"])

    assert list(settings["DATABASES"]) == ["default"]


def test_database_connections_have_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    options = read_options(load_settings(monkeypatch, **NEEDED))

    assert options["connect_timeout"] == 3
    assert options["options"] == (
        "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"
    )


def test_only_a_pool_disables_persistent_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    without = load_settings(monkeypatch, **NEEDED)
    pooled = load_settings(monkeypatch, **NEEDED, DATABASE_POOL_SIZE="4")

    assert "pool" not in read_options(without)
    assert without["DATABASES"]["default"]["CONN_MAX_AGE"] == 60
    assert without["DATABASES"]["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert pooled["DATABASES"]["default"]["CONN_MAX_AGE"] == 0
    assert pooled["DATABASES"]["default"]["ENGINE"] == "config.postgresql"


def test_production_is_strict_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, **NEEDED)

    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == []
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is True
    assert settings["SECURE_SSL_REDIRECT"] is True
    assert settings["SECURE_HSTS_SECONDS"] == 3600
    assert settings["X_FRAME_OPTIONS"] == "DENY"
    assert "SECURE_PROXY_SSL_HEADER" not in settings


def test_redis_options_are_for_redis_only(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = load_settings(monkeypatch, **NEEDED, CELERY_BROKER_URL="redis://broker/0")
    rabbit = load_settings(monkeypatch, **NEEDED, CELERY_BROKER_URL="amqp://broker//")

    assert redis["CELERY_WORKER_DISABLE_PREFETCH"] is True
    assert redis["CELERY_BROKER_TRANSPORT_OPTIONS"] == {
        "global_keyprefix": "sagas:",
        "socket_connect_timeout": 1,
        "socket_timeout": 5,
        "health_check_interval": 10,
    }
    assert rabbit["CELERY_WORKER_DISABLE_PREFETCH"] is False
    assert rabbit["CELERY_BROKER_TRANSPORT_OPTIONS"] == {"write_timeout": 5}


def test_celery_reads_the_settings() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_acks_late is False
    assert app.conf.task_ignore_result is True
    assert app.conf.result_backend is None
    assert app.conf.task_publish_retry is False
    assert app.conf.task_create_missing_queues is False
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_enable_remote_control is False
    assert app.conf.worker_soft_shutdown_timeout == 30
    assert app.conf.broker_connection_max_retries is None
    assert app.conf.get("CELERY_DB_REUSE_MAX") == 1000


def test_queues_come_from_the_definitions() -> None:
    from sagas.core.definition import registry

    assert set(app.amqp.Queues(app.conf.task_queues)) == {"sagas", *registry.queues()}


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_line_holds_the_saga_fields(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, **NEEDED, LOG_FORMAT=log_format)
    formatter = settings["LOGGING"]["formatters"]["structured"]
    record = logging.makeLogRecord(
        {"name": "sagas.engine.advance", "msg": "step succeeded", "levelname": "INFO", "attempt": 3}
    )

    line = formatter["()"](**{name: value for name, value in formatter.items() if name != "()"}).format(record)

    if log_format == "json":
        assert (
            json.loads(line).items()
            >= {"event": "step succeeded", "attempt": 3, "logger": "sagas.engine.advance"}.items()
        )
    else:
        assert "step succeeded" in line
        assert "attempt=3" in line


def test_log_line_is_valid_json_after_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, **NEEDED, LOG_FORMAT="json")
    formatter = settings["LOGGING"]["formatters"]["structured"]
    facts = {"token": None, "api_key": 12345, "number": 4111111111111111, "msg": "password=hush, " + "x" * 200_000}
    record = logging.makeLogRecord({"levelname": "INFO", **facts})

    line = formatter["()"](**{name: value for name, value in formatter.items() if name != "()"}).format(record)

    shown = json.loads(line)
    assert (shown["token"], shown["api_key"]) == (None, "[redacted: secret]")
    assert shown["number"] == "[redacted: card number]"
    assert shown["event"].startswith("password=[redacted: secret], xxx")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_logged_traceback_shows_no_local_variables(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, **NEEDED, LOG_FORMAT=log_format)
    formatter = settings["LOGGING"]["formatters"]["structured"]
    address = "1 Harbour " + "Street"
    try:
        raise ValueError(f"No such house at an address of {len(address)} letters.")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "levelname": "ERROR", "exc_info": sys.exc_info()})

    line = formatter["()"](**{name: value for name, value in formatter.items() if name != "()"}).format(record)

    assert "No such house at an address of 16 letters." in line
    assert address not in line


def test_commands_find_the_running_demo_without_any_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime, "VAR", tmp_path)
    monkeypatch.setattr(runtime, "RUNTIME_FILE", tmp_path / "runtime.json")
    runtime.write_runtime({"DATABASE_URL": OTHER_DATABASE, "SECRET_KEY": "of the demo"})

    settings = load_settings(monkeypatch)

    assert settings["DATABASES"]["default"]["NAME"] == "other"
    assert settings["SECRET_KEY"] == "of the demo"
    assert (tmp_path / "runtime.json").stat().st_mode & 0o777 == 0o600


def test_environment_takes_precedence_over_the_running_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "VAR", tmp_path)
    monkeypatch.setattr(runtime, "RUNTIME_FILE", tmp_path / "runtime.json")
    runtime.write_runtime({"DATABASE_URL": OTHER_DATABASE, "ALLOWED_HOSTS": "demo"})

    settings = load_settings(monkeypatch, **NEEDED)

    assert settings["DATABASES"]["default"]["NAME"] == "main"
    assert settings["ALLOWED_HOSTS"] == []


def test_file_of_a_killed_demo_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file = tmp_path / "runtime.json"
    file.write_text(json.dumps({"pid": ended.pid, "environment": {"DATABASE_URL": OTHER_DATABASE}}))
    monkeypatch.setattr(runtime, "RUNTIME_FILE", file)

    assert runtime.read_runtime() == {}
    assert "DATABASE_URL" in os.environ
