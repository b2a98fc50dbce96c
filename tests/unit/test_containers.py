"""The image and the compose file say what they must; no container engine is needed to see it."""

from __future__ import annotations

import re
import shlex
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from config import health
from config.local.runtime import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "WORKDIR",
}  # fmt: skip


def read_instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile as (instruction, arguments), with continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def read_compose() -> dict[str, Any]:
    """Read the compose file, with its anchors merged."""
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


def test_copied_paths_exist_and_are_let_through_to_the_build() -> None:
    let_through = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert all((ROOT / path).exists() for path in let_through)
    assert {"config", "sagas", "orders", "payments", "inventory", "shipping", "requirements/image.lock"} <= {
        *let_through
    }


def test_compose_starts_the_shop_after_its_database_and_migrations() -> None:
    services = read_compose()["services"]

    assert {*services} == {"postgres", "valkey", "migrate", "web", "worker"}
    for name in ("web", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
        }


def test_compose_restarts_and_watches_every_lasting_service() -> None:
    services = read_compose()["services"]

    for name in ("postgres", "valkey", "web", "worker"):
        assert services[name]["restart"] == "unless-stopped"
    for name in ("postgres", "valkey", "worker"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services["migrate"]["restart"] == "on-failure"


def test_compose_publishes_the_web_server_alone_and_only_here() -> None:
    ports = {name: service["ports"] for name, service in read_compose()["services"].items() if "ports" in service}

    assert ports == {"web": ["127.0.0.1:${PORT:-8000}:8000"]}


def test_compose_passes_only_documented_settings_and_no_secret() -> None:
    compose = read_compose()
    documented = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    environment = compose["services"]["web"]["environment"]

    assert {*environment} <= documented
    assert environment["SECRET_KEY"].startswith("${SECRET_KEY:?")
    assert "${POSTGRES_PASSWORD:?" in environment["DATABASE_URL"]


def test_no_lock_holds_an_address() -> None:
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

    assert versions["demo"].items() <= versions["dev"].items()
    assert versions["image"].items() <= versions["dev"].items()


@pytest.mark.parametrize(
    ("allowed_hosts", "answered_host", "exit_code"),
    [
        ("shop.example,other", "shop.example", 0),
        (".shop.example", "shop.example", 0),
        ("*", "localhost", 0),
        ("a", "b", 1),
    ],
)
def test_health_check_asks_under_an_allowed_host(
    allowed_hosts: str, answered_host: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_good = self.path == "/healthz" and self.headers["Host"] == answered_host
            self.send_response(200 if is_good else 400)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Site)
    Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("BIND", f"0.0.0.0:{server.server_port}")
    monkeypatch.setenv("ALLOWED_HOSTS", allowed_hosts)

    assert health.main() == exit_code
    server.server_close()


def test_health_check_fails_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIND", "127.0.0.1:1")

    assert health.main() == 1
