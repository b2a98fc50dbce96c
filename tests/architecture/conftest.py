"""Parsing of the engine's modules despite other threads of this process."""

import ast
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _parse_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse once more where CPython 3.11 was disturbed: it counts the depth of all threads together, and a traceback
    that another one formats just then is a parse, too (SystemError: recursion depth mismatch).
    """
    parse = ast.parse

    def parse_undisturbed(*arguments: Any, **options: Any) -> Any:
        for _ in range(5):
            try:
                return parse(*arguments, **options)
            except SystemError:
                continue
        return parse(*arguments, **options)

    monkeypatch.setattr(ast, "parse", parse_undisturbed)
