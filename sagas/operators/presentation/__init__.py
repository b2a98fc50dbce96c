"""Display of sagas and steps for operators: in one word, in a sentence, as a filter.

The engine keeps state, hold and attention separate. A *display state* is computed from them by the same rules for every
reader (console, API, metrics): once in Python for rows in memory, and once as SQL for filters and counts. It is for
display only; no decision depends on it.
"""

from .badges import Badge, badge_of_saga, badge_of_state, badge_of_step
from .filters import (
    annotate_display_state,
    count_open,
    filter_by_display,
    filter_by_reason,
    needs_operator,
    select_open_states,
)
from .sentences import Account, explain
from .states import REASONS, DisplayState, StepDisplay, current_step, judge_saga, judge_step, reasons_of

__all__ = [
    "REASONS", "Account", "Badge", "DisplayState", "StepDisplay", "annotate_display_state", "badge_of_saga",
    "badge_of_state", "badge_of_step", "count_open", "current_step", "explain", "filter_by_display",
    "filter_by_reason", "judge_saga", "judge_step", "needs_operator", "reasons_of", "select_open_states",
]  # fmt: skip
