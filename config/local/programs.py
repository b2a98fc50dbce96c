"""Command lines of the project's own processes, shared by the demo and the acceptance tests."""

import sys

from .runtime import ROOT

MANAGE = ROOT / "manage.py"


def manage_command(*arguments: str) -> list[str]:
    """Return the command line of a management command."""
    return [sys.executable, str(MANAGE), *arguments]


def web_command(port: int, *, workers: int = 1, threads: int = 8) -> list[str]:
    """Return the command line of a web server on 127.0.0.1."""
    return [
        sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn", "--bind", f"127.0.0.1:{port}",
        "--workers", str(workers), "--threads", str(threads), "config.wsgi",
    ]  # fmt: skip


def worker_command(name: str, *, concurrency: int = 2, queues: str = "") -> list[str]:
    """Return the command line of a Celery worker; without queues it serves all queues of the definitions."""
    return [
        sys.executable, "-m", "celery", "--app", "config", "worker", "--hostname", f"{name}@%h",
        "--concurrency", str(concurrency), *(["--queues", queues] if queues else []),
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
