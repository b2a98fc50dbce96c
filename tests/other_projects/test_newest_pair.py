"""Newest Python and Django that can be had; ``python -m tests.other_projects.pairs`` tries every pair."""

from .pairs import main


def test_newest_python_and_django_work() -> None:
    assert main(["--newest"]) == 0
