"""The settings come from the environment, and from nothing else."""

from __future__ import annotations

from django.conf import settings

from config.celery import app


def test_default_queue_is_always_declared() -> None:
    assert "sagas" in app.amqp.queues


def test_database_connections_have_timeouts() -> None:
    assert settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] == 3
