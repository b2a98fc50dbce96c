"""Documentation: at most 100 columns, working links, existing commands and valid code.

``tests/documentation`` and ``tests/packaging`` also run the recipes and the tutorial.
"""

import ast
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.core.management import CommandParser, get_commands, load_command_class
from django.urls import resolve

from config.local.runtime import ROOT
from sagas.monitoring.metrics import SagaCollector

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST_LINE = 100
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(?:manage\.py )?([a-z]+_[a-z_]+)((?: [^`]*)?)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Checked by Sphinx, or not at all.
OTHER_LANGUAGES = {"{toctree}", "{include}", "{eval-rst}", "text"}
OTHER_PROGRAMS = {"celery", "createdb", "pip", "rm", "touch"}
MANAGE = re.compile(r"^(docker compose exec web )?\S*(python )?((\S*/)?manage\.py|-m django)$")
SHOPS = ("$SHOP/", "http://127.0.0.1:8000/")
SAGA = str(UUID(int=1))


def list_blocks(*languages: str) -> list[Any]:
    """List the texts of the blocks in these languages, named by page and line."""
    return [
        pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for text in [page.read_text()]
        for match in BLOCK.finditer(text)
        if match[1] in languages
    ]


def make_parser(command: str) -> CommandParser:
    """Return the parser of a management command."""
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the repository's host and the site make them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_is_too_long(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_point_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        target = urlsplit(link)
        path = (page.parent / target.path).resolve() if target.path else page
        if not target.scheme and not (
            path.is_file() and (not target.fragment or target.fragment in list_anchors(path))
        ):
            broken.append(link)
    assert broken == []


def test_every_block_has_a_language_that_is_checked() -> None:
    languages = {match[1].partition(" ")[0] for page in PAGES for match in BLOCK.finditer(page.read_text())}
    assert languages - OTHER_LANGUAGES == {"python", "console", "json"}


@pytest.mark.parametrize("text", list_blocks("json"))
def test_json_is_valid(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", list_blocks("python"))
def test_python_compiles_and_uses_what_the_engine_exports(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).partition(".")[0] == "sagas":
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = {"sagas": "sagas", "operations": "sagas.operations"}.get(node.value.id)
            assert owner is None or hasattr(importlib.import_module(owner), node.attr)


@pytest.mark.parametrize("text", list_blocks("console"))
def test_console_lines_are_existing_commands(text: str) -> None:
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    assert "".join(f"$ {command}" for command in commands) == text
    for command in commands:
        # TOKEN=$(...) is the command inside; SHOP=... is none.
        inner = re.sub(r"^[A-Z]+=(?:\$\((.*)\)|.*)$", r"\1", command.replace("\\\n", " ").strip(), flags=re.DOTALL)
        part: list[str] = []
        for word in [*shlex.split(inner, comments=True), "&&"]:
            if word in {"&&", "|"}:
                require_command(part)
                part = []
            else:
                part.append(word)


def require_command(words: list[str]) -> None:
    """Fail unless these words, if any, are a valid call of a program."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    managed = next(
        (words[index + 1 :] for index in range(len(words)) if MANAGE.search(" ".join(words[: index + 1]))), []
    )
    if managed:
        given = [re.sub(r"^(SAGA_)?ID\b", SAGA, word) for word in managed[1:]]
        assert make_parser(managed[0]).parse_args(given)
    elif words[:1] == ["make"]:
        assert set(words[1:]) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    elif words[:1] == ["curl"]:
        [address] = [word for word in words if word.startswith(SHOPS)]
        assert resolve("/api/" + address.partition("/api/")[2]).url_name, "only what refuses unknown addresses"
        assert json.loads(words[words.index("-d") + 1])
    elif words[:2] == ["python3", "-c"]:
        ast.parse(words[2])
    elif words[1:3] == ["-m", "pytest"]:
        named = [word.partition("::") for word in words if word.startswith("tests/")]
        assert named
        assert all((ROOT / path).exists() for path, _, _ in named)
        assert all(f"\ndef {test}(" in (ROOT / path).read_text() for path, _, test in named if test)
    elif words:
        assert words[0] in OTHER_PROGRAMS


def test_options_of_commands_in_the_text_exist() -> None:
    found = {
        (command, option)
        for page in PAGES
        for command, rest in INLINE.findall(BLOCK.sub("", page.read_text()))
        if command in get_commands()
        for option in re.findall(r"--[a-z-]+", rest)
    }
    assert len(found) > 5
    assert [(command, option) for command, option in found if option not in list_options(command)] == []


def list_options(command: str) -> set[str]:
    """Return the options that a command takes."""
    return {option for action in make_parser(command)._actions for option in action.option_strings}


def test_every_metric_is_documented_with_its_labels() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    documented = {
        name: re.findall(r"`(\w+)`", labels) for name, labels in re.findall(r"^- `(\w+)`([^:]*):", page, re.MULTILINE)
    }
    assert documented == {
        metric.name: list(getattr(metric, "_labelnames", ())) for metric in SagaCollector().describe()
    }


def test_named_paths_exist() -> None:
    named = [
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`([a-z_]+(?:/[\w.]+)+/?)`", page.read_text())
        if (ROOT / path.partition("/")[0]).is_dir() and not path.startswith("var/")
    ]

    assert len(named) > 100
    assert [(page, path) for page, path in named if not (ROOT / path).exists()] == []
