"""Say for people where a saga and its steps stand: in one word, in a sentence, as a filter.

The engine keeps state, hold and attention apart, and that stays so: a *display state* is computed from them for every
reader (console, API, metrics) by the same rules, once in Python for rows at hand and once as SQL for filters and
counts. Nothing is decided on it.
"""

from __future__ import annotations

from .badges import Badge, badge_of_saga, badge_of_state, badge_of_step
from .filters import (
    annotate_display_state,
    count_open,
    filter_by_display,
    filter_by_reason,
    needs_person,
    select_open_states,
)
from .sentences import Account, tell
from .states import REASONS, DisplayState, StepDisplay, current_step, judge_saga, judge_step, reasons_of

__all__ = [
    "REASONS",
    "Account",
    "Badge",
    "DisplayState",
    "StepDisplay",
    "annotate_display_state",
    "badge_of_saga",
    "badge_of_state",
    "badge_of_step",
    "count_open",
    "current_step",
    "filter_by_display",
    "filter_by_reason",
    "judge_saga",
    "judge_step",
    "needs_person",
    "reasons_of",
    "select_open_states",
    "tell",
]
