"""Show what an exploration found: step and fault against end and effects left, and the shortest counterexample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .explorer import Exploration, Verdict, describe

HEADINGS = ("step", "direction", "fault", "end", "left", "")


def render_exploration(exploration: Exploration) -> str:
    """Return the whole exploration as text."""
    rows = [_row_of(verdict) for verdict in exploration.verdicts]
    wrong = exploration.wrong
    lines = [
        f"{exploration.definition}: an undisturbed run leaves {_list_effects(exploration.baseline)}.",
        "",
        *_align([HEADINGS, *rows]),
        "",
        f"{len(rows)} trials, {len(wrong)} wrong, {len(exploration.not_possible)} not possible.",
    ]
    if wrong:
        lines += ["", "Shortest counterexample", describe(wrong[0])]
    return "\n".join(lines) + "\n"


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
    return (trial.step, trial.direction.value, trial.fault, verdict.end, _list_effects(verdict.effects), mark)


def _list_effects(effects: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in effects.items() if count) or "nothing"


def _align(rows: Iterable[tuple[str, ...]]) -> list[str]:
    listed = list(rows)
    widths = [max(len(row[column]) for row in listed) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in listed]
