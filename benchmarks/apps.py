"""App configuration."""

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    """Benchmarks of the engine."""

    name = "benchmarks"
