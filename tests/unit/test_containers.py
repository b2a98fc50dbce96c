"""Image and compose file, checked without a container engine."""

import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml
from django.core.exceptions import ImproperlyConfigured
from psycopg import sql

from config import health
from config.local.postgres import LocalPostgres, accepts_connections, start_throwaway_postgres
from config.local.runtime import ROOT
from tests.processes import wait_until

from .test_settings import NEEDED, load_settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "WORKDIR",
}  # fmt: skip


def read_instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile as (instruction, arguments), with continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def read_compose() -> dict[str, Any]:
    """Return the compose file with its anchors merged."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_dockerfile_uses_known_instructions_and_shell_that_parses() -> None:
    for instruction, arguments in read_instructions():
        assert instruction in INSTRUCTIONS
        assert shlex.split(arguments)


def test_image_is_built_in_two_stages_on_a_named_version() -> None:
    stages = [arguments for instruction, arguments in read_instructions() if instruction == "FROM"]

    assert [stage.rsplit(" AS ")[1] for stage in stages] == ["build", "run"]
    assert {stage.split()[0] for stage in stages} == {"python:3.13-slim-bookworm"}


def test_image_runs_as_an_ordinary_user_with_a_health_check() -> None:
    last_stage = read_instructions()[[name for name, _ in read_instructions()].index("FROM", 1) :]
    named = dict(last_stage)

    assert named["USER"] == "10001"
    assert '"config.health"' in named["HEALTHCHECK"]
    assert named["CMD"] == '["gunicorn", "--config", "python:config.gunicorn", "config.wsgi"]'
    assert "SECRET_KEY" not in DOCKERFILE.partition(" AS run")[2]


def test_image_installs_locked_packages_with_hashes_only() -> None:
    installs = [arguments for name, arguments in read_instructions() if name == "RUN" and "pip install" in arguments]

    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "requirements/image.lock" in DOCKERFILE


def test_copied_paths_exist_and_are_not_ignored() -> None:
    let_through = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert all((ROOT / path).exists() for path in let_through)
    assert {"config", "sagas", "orders", "payments", "inventory", "shipping", "requirements/image.lock"} <= {
        *let_through
    }


def test_compose_starts_the_shop_after_its_database_and_migrations() -> None:
    services = read_compose()["services"]

    assert {*services} == {"postgres", "valkey", "migrate", "web", "worker", "relay", "consumers"}
    for name in ("web", "worker", "relay", "consumers"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
        }


def test_compose_restarts_and_checks_every_long_running_service() -> None:
    services = read_compose()["services"]

    for name in ("postgres", "valkey", "web", "worker", "relay", "consumers"):
        assert services[name]["restart"] == "unless-stopped"
    for name in ("postgres", "valkey", "worker", "consumers"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services["migrate"]["restart"] == "on-failure"


def test_compose_publishes_the_web_server_only_and_on_localhost() -> None:
    ports = {name: service["ports"] for name, service in read_compose()["services"].items() if "ports" in service}

    assert ports == {"web": ["127.0.0.1:${PORT:-8000}:8000"]}


# Set by the compose file, part of the image, and forbidden in containers.
NOT_PASSED_ON = {"BIND", "STATIC_ROOT", "DEBUG"}
WEB_ALONE = {
    "NUM_PROXIES", "CSRF_TRUSTED_ORIGINS", "HSTS_SECONDS", "CHECKOUT_RATE", "OPERATOR_RATE", "LOG_IN_RATE",
    "LOG_IN_ACCOUNT_RATE", "LOG_IN_ADDRESS_RATE", "WEB_CONCURRENCY", "WEB_THREADS", "DATABASE_POOL_SIZE",
}  # fmt: skip
HOSTILE_PASSWORD = """a/b@c#d%e:f?g&h=i+j k$l'm"n\\o[p]{q}%40é"""


def resolve(service: str, **given: str) -> dict[str, str]:
    """Return the environment of a container as compose resolves it.

    Source: the Compose Specification, "environment" (a key without a value) and "Interpolation".
    """
    resolved = {}
    for name, value in read_compose()["services"][service]["environment"].items():
        if value is None:
            if name in given:
                resolved[name] = given[name]
        else:
            resolved[name] = re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda found: fill(found, given), str(value))
    return resolved


def fill(found: re.Match[str], given: dict[str, str]) -> str:
    """Return the value of one ``${NAME:-default}`` or ``${NAME:?message}``."""
    if found[2] == "?":
        assert given.get(found[1]), found[3]
    return given.get(found[1]) or found[3]


def test_compose_passes_every_setting_to_the_services_that_read_it() -> None:
    documented = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    services = read_compose()["services"]
    others = ("migrate", "worker", "relay", "consumers")
    passed = {name: {*services[name]["environment"]} - {"PGPASSWORD"} for name in ("web", *others)}

    assert passed["web"] == documented - NOT_PASSED_ON
    assert all(passed[name] == documented - NOT_PASSED_ON - WEB_ALONE for name in others)
    assert services["web"]["environment"]["SECRET_KEY"].startswith("${SECRET_KEY:?")
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_compose_gives_no_container_an_empty_setting_or_a_password_in_a_url() -> None:
    for service in ("migrate", "web", "worker"):
        resolved = resolve(service, SECRET_KEY="key", POSTGRES_PASSWORD=HOSTILE_PASSWORD)

        assert resolved == {
            "SECRET_KEY": "key",
            "DATABASE_URL": "postgres://sagas@postgres:5432/sagas",
            "PGPASSWORD": HOSTILE_PASSWORD,
            "CELERY_BROKER_URL": "redis://valkey:6379/0",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "HTTPS_ONLY": "off",
        }


@pytest.fixture(scope="module")
def locked_postgres() -> Iterator[LocalPostgres]:
    """Start a PostgreSQL that requires a password with every kind of character."""
    server = start_throwaway_postgres()
    with psycopg.connect(server.create_database("sagas"), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE sagas PASSWORD {}").format(sql.Literal(HOSTILE_PASSWORD)))
        (server.home / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.process.stop()


def run_service(service: str, code: str, server: LocalPostgres, **given: str) -> str:
    """Run Python with the project's settings in the environment of a container, on a local database."""
    environment = resolve(service, SECRET_KEY="key", **given)
    url = environment["DATABASE_URL"].replace("@postgres:5432/", "@/")
    environment["DATABASE_URL"] = f"{url}?host={server.socket_directory}"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "--command", code],
        cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


ASK = """
from django.conf import settings
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT current_user")
    user, page = cursor.fetchone()[0], settings.SAGAS["SWEEP_PAGE"]
    print(user, page, settings.EMAIL_HOST, settings.EMAIL_PORT, settings.NUM_PROXIES)
"""


def test_password_of_any_characters_and_settings_reach_the_project(locked_postgres: LocalPostgres) -> None:
    wait_until(lambda: not accepts_connections(locked_postgres.url_of("sagas")), "a password is asked for")
    given = {
        "POSTGRES_PASSWORD": HOSTILE_PASSWORD,
        "SAGAS": '{"SWEEP_PAGE": 7}',
        "EMAIL_URL": "smtp+tls://a:b@mail.example:587",
        "NUM_PROXIES": "2",
    }

    right = run_service("web", ASK, locked_postgres, **given)
    wrong = run_service("web", ASK, locked_postgres, **{**given, "POSTGRES_PASSWORD": "wrong"})

    assert right == "sagas 7 mail.example 587 2\n"
    assert "password authentication failed" in wrong


@pytest.mark.parametrize("variable", ["DATABASE_URL", "PAYMENTS_DATABASE_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "postgres://sagas:secret/word@postgres:5432/sagas", "postgres://sagas:secret?word@postgres:5432/sagas",
        "postgres://a@b:secret/c", "postgres://a:secret@b", "postgres://a:secret@b/", "sqlite:///secret",
        "mysql://a:secret@b/c", "secret",
    ],
)  # fmt: skip
def test_malformed_url_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{variable} cannot be read\. Write postgres://") as caught:
        load_settings(monkeypatch, **{**NEEDED, variable: url})

    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("password", [HOSTILE_PASSWORD, "/@#%:? ", "%40"])
def test_percent_encoded_password_is_decoded(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    url = f"postgres://sagas:{quote(password, safe='')}@postgres:5432/sagas"

    [database] = load_settings(monkeypatch, **{**NEEDED, "DATABASE_URL": url})["DATABASES"].values()

    assert (database["USER"], database["PASSWORD"], database["HOST"], database["PORT"]) == (
        "sagas", password, "postgres", 5432,
    )  # fmt: skip


def test_locks_contain_no_url() -> None:
    for name in ("demo", "image", "dev"):
        lock = (ROOT / "requirements" / f"{name}.lock").read_text()
        assert re.search(r"://|--index|--extra-index|--find-links|^-", lock, re.MULTILINE) is None
        pinned = re.findall(r"^[a-z0-9-]+(?:\[[a-z,]+\])?==\S+.*\n    --hash=sha256:", lock, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z]", lock, re.MULTILINE)) > 40


def test_locks_agree_on_every_version() -> None:
    versions = {}
    for name in ("demo", "image", "dev"):
        lock = (ROOT / "requirements" / f"{name}.lock").read_text()
        versions[name] = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))

    assert versions["demo"].keys().isdisjoint(versions["dev"])
    assert versions["image"].items() <= (versions["demo"] | versions["dev"]).items()


@pytest.mark.parametrize(
    ("allowed_hosts", "answered_host", "exit_code"),
    [
        ("shop.example,other", "shop.example", 0),
        (".shop.example", "shop.example", 0),
        ("*", "localhost", 0),
        ("a", "b", 1),
    ],
)
def test_health_check_uses_an_allowed_host(
    allowed_hosts: str, answered_host: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_good = self.path == "/healthz" and self.headers["Host"] == answered_host
            self.send_response(200 if is_good else 400)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Site)
    Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("BIND", f"0.0.0.0:{server.server_port}")
    monkeypatch.setenv("ALLOWED_HOSTS", allowed_hosts)

    assert health.main() == exit_code
    server.server_close()


def test_health_check_fails_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIND", "127.0.0.1:1")

    assert health.main() == 1
