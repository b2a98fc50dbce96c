"""gunicorn's configuration: ``gunicorn --config python:config.gunicorn config.wsgi``."""

import os
from pathlib import Path
from typing import Any

from config.reading import read_number

bind = os.environ.get("BIND", "127.0.0.1:8000")
# gthread, with problem documents for requests that never reach Django.
worker_class = "config.front_server.ProblemWorker"
workers = read_number("WEB_CONCURRENCY", os.environ.get("WEB_CONCURRENCY", "2"), at_least=1)
threads = read_number("WEB_THREADS", os.environ.get("WEB_THREADS", "8"), at_least=1)
# Longer than the longest wait that a client may request (30 seconds).
timeout = 60
graceful_timeout = 35
keepalive = 5
# Every thread may need one connection; only this process has a pool.
raw_env = [f"DATABASE_POOL_SIZE={os.environ.get('DATABASE_POOL_SIZE', threads)}"]
# A heartbeat file on a slow disk would look like a stuck worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# django-structlog already logs each request.
accesslog = None
errorlog = "-"
control_socket_disable = True

# By default gunicorn trusts proxy headers from 127.0.0.1 and from Unix sockets. None of that is needed: only Django
# evaluates them, by NUM_PROXIES.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
header_map = "drop"


def pre_request(_worker: Any, req: Any) -> None:
    """Allow config/bodies.py to close the connection of a request with an unread body."""
    req.body.force_close = req.force_close
