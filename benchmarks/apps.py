"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    """Benchmarks of the engine."""

    name = "benchmarks"
