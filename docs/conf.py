"""Configuration of the documentation site: ``make docs`` builds it into ``var/docs``.

The API reference comes from the docstrings, so Django is set up, with no database and with the engine's own apps only.
"""

import re
import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_fsm", "sagas"],
    SECRET_KEY="of the documentation",  # noqa: S106 - signs nothing
)
django.setup()

project = "Sagas for Django"
author = "The sagas for Django authors"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = project
# A console line may hold JSON of several lines, which Pygments cannot read; a test parses every block.
suppress_warnings = ["misc.highlighting_failure"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_use_type_comments = False
# The types of annotations: those of Python and Django, and the engine's inner ones, have no page here.
nitpick_ignore_regex = [
    ("py:class", r"(collections|datetime|django|random|uuid|sagas)\.\w+\..*|(datetime|random|uuid)\.\w+")
]

LABEL = re.compile(r"^(Shape|Units|Returns|Raises|Locks|Tx|Statements|Source): ")


def mark_labels(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Set each label of a docstring (Returns, Raises, Locks, ...) in a paragraph of its own."""
    marked: list[str] = []
    for line in lines:
        marked += ["", LABEL.sub(r"**\1**: ", line)] if LABEL.match(line) else [line]
    lines[:] = marked


def setup(app: object) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("autodoc-process-docstring", mark_labels)  # type: ignore[attr-defined]
