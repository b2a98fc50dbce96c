"""Table of the tested settings and their results, written to ``var/matrix.md``."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.local.runtime import ROOT

from .settings_table import Setting

PROPERTY = "foreign"
PLACE = ROOT / "var" / "matrix.md"
TOP = ("| setting | driven | result |", "| --- | --- | --- |")
ROW = re.compile(r"\| [^|]* \((\w+)\) \| ")
HEAD = "Each setting of a foreign project, what was driven under it, and what came of it."


@dataclass(frozen=True, kw_only=True)
class Line:
    """Line of one setting.

    name: of its test. words: what is set. driven: what was, in its order. wrong: what did not come out as expected,
    with what came instead. refusal: what ``manage.py check`` says of it.
    """

    name: str
    words: str
    driven: tuple[str, ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()
    refusal: str = ""

    @property
    def result(self) -> str:
        """Return the result as text."""
        if self.wrong:
            return "; ".join(f"**{name}**: {result}" for name, result in self.wrong)
        return f"refused: {self.refusal}" if self.refusal else "works"


def compare(setting: Setting, name: str, words: str, found: Mapping[str, Any]) -> Line:
    """Compare the results of a setting that must work with the expected ones.

    name: of its line.
    """
    names = list(dict.fromkeys([*setting.expected, *found]))
    wrong = [(name, short(found.get(name))) for name in names if found.get(name) != setting.expected.get(name)]
    return Line(name=name, words=words, driven=tuple(setting.expected), wrong=tuple(wrong))


def short(value: Any, limit: int = 160) -> str:
    """Format a value for a cell."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def as_property(line: Line) -> dict[str, Any]:
    """Return a line in the form that a test report carries to another process."""
    return asdict(line)


def from_property(given: Mapping[str, Any]) -> Line:
    """Return the line in a test report."""
    values = {name: tuple(map(tuple, value)) if name == "wrong" else value for name, value in given.items()}
    return Line(**{**values, "driven": tuple(values["driven"])})


def render(rows: Iterable[str]) -> str:
    """Return the table as Markdown."""
    return "\n".join([HEAD, "", *TOP, *rows, ""])


def row_of(line: Line) -> str:
    """Return a line's row in Markdown."""
    return f"| {line.words} ({line.name}) | {', '.join(line.driven)} | {line.result} |"


def list_lines(reports: Iterable[Any]) -> list[Line]:
    """Return the lines in the reports of a run."""
    return [from_property(value) for report in reports for name, value in report.user_properties if name == PROPERTY]


def write(lines: Iterable[Line], place: Path = PLACE) -> str:
    """Write the rows of this run to the table's file; those of other suites stay.

    Returns: the table of this run alone.
    """
    new = {line.name: row_of(line) for line in lines}
    old = [row for row in place.read_text().splitlines() if ROW.match(row)] if place.exists() else []
    kept = [row for row in old if ROW.match(row)[1] not in new]  # type: ignore[index]
    place.parent.mkdir(exist_ok=True)
    place.write_text(render([*new.values(), *kept]))
    return render(new.values())
