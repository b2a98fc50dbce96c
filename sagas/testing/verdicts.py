"""Exploration as text and JSON: a table of steps, faults, ends and effects, and the shortest counterexample."""

from collections.abc import Mapping

from ..core.text_tables import Column, describe_table
from ..core.visible import escape
from .explorer import Exploration, Verdict, describe

COLUMNS = (
    Column(title="verdict"),
    Column(title="step", least=14),
    Column(title="direction"),
    Column(title="fault", least=16),
    Column(title="end", least=16),
    Column(title="left", least=12),
)


def render_exploration(exploration: Exploration, *, width: int | None = None) -> str:
    """Return the whole exploration as text.

    ``width``: width of the terminal for the table, in columns; None: as wide as needed.
    """
    rows = [_row_of(verdict) for verdict in exploration.verdicts]
    wrong = exploration.wrong
    lines = [
        f"{exploration.definition}: an undisturbed run leaves {_list_effects(exploration.baseline)}.",
        "",
        *describe_table(COLUMNS, rows, width),
        "",
        f"{len(rows)} trials, {len(wrong)} wrong, {len(exploration.not_possible)} not possible.",
    ]
    if wrong:
        lines += ["", "Shortest counterexample", *describe(wrong[0]).split("\n")]
    return "\n".join(escape(line) for line in lines) + "\n"


def as_rows(exploration: Exploration) -> list[dict[str, object]]:
    """Return the verdicts as JSON-able rows.

    Shape: ``[{step, direction, fault, end, effects: {name: count}, is_right, was_possible, problems: [text]}]``.
    """
    return [
        {
            "step": verdict.trial.step,
            "direction": verdict.trial.direction.value,
            "fault": verdict.trial.fault,
            "end": verdict.end,
            "effects": dict(verdict.effects),
            "is_right": verdict.is_right,
            "was_possible": verdict.was_possible,
            "problems": list(verdict.problems) if verdict.was_reached else ["the fault was never reached"],
        }
        for verdict in exploration.verdicts
    ]


def _row_of(verdict: Verdict) -> tuple[str, ...]:
    trial = verdict.trial
    mark = "WRONG" if verdict.is_wrong else "ok" if verdict.was_possible else "not possible"
    return (mark, trial.step, trial.direction.value, trial.fault, verdict.end, _list_effects(verdict.effects))


def _list_effects(effects: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in effects.items() if count) or "nothing"
