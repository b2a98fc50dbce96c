"""Remedies: look-ups and repairs that participants offer operators beside the steps of a definition.

They belong to no version and are no part of a digest: they may be added, changed and removed at any time. Pure: no
Django import.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from ...exceptions import DefinitionError
from ..states import Direction
from . import function_shapes
from .context import StepContext
from .options import check_duration

SUGGESTIONS = ("mark_succeeded", "mark_refused", "mark_compensated", "retry")
"""Operations that an answer can suggest."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_LABEL_CHARS = 60
MAX_CHANGES_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class RemedyAnswer:
    """Answer of a remedy to the operator who ran it. Every viewer of the saga can read its text and facts."""

    text: str
    """The answer, in a sentence or two."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the participant knows, by label."""
    suggests: Sequence[str] = ()
    """Operations that could follow, the best first: names of ``SUGGESTIONS``. The first possible one is offered."""
    evidence: str = ""
    """Evidence for a mark; empty: the text."""
    result: Mapping[str, Any] | None = None
    """What the step would have returned, for ``mark_succeeded``."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ValueError(f"RemedyAnswer.text must be a text for the operator, not {self.text!r}.")
        if isinstance(self.suggests, str) or not set(self.suggests) <= set(SUGGESTIONS):
            raise ValueError(f"RemedyAnswer.suggests takes a list of {', '.join(SUGGESTIONS)}, not {self.suggests!r}.")


RemedyFunction = Callable[[StepContext[Any]], RemedyAnswer]
FunctionT = TypeVar("FunctionT", bound=Callable[..., RemedyAnswer])


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Look-up or repair for steps of a definition."""

    name: str
    """Stored name, unique in the definition."""
    definition: str
    """Stored name of the definition; all its versions have the remedy."""
    steps: tuple[str, ...]
    """Steps that it helps."""
    label: str
    """Text of its button."""
    changes: str
    """What a repair changes at the participant; empty for a look-up."""
    during: Direction | None
    """Direction in which the step must be stuck; None: either."""
    timeout: timedelta | None
    """Time limit; None: the project's default for attempts."""
    function: RemedyFunction
    """Called with the context of the step."""

    @property
    def is_repair(self) -> bool:
        """Whether it changes something at the participant."""
        return bool(self.changes)

    @property
    def kind(self) -> str:
        """``repair`` or ``look_up``."""
        return "repair" if self.is_repair else "look_up"


REMEDIES: dict[tuple[str, str], Remedy] = {}
"""All remedies by the names of definition and remedy."""


def remedy(
    name: str,
    *,
    definition: str,
    steps: Sequence[str],
    label: str,
    changes: str = "",
    during: Direction | str | None = None,
    timeout: timedelta | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Register a function that operators can run while one of these steps is stuck.

    Without ``changes`` it is a look-up and must change nothing. With ``changes``, a sentence for the operator, it is a
    repair, which must be idempotent by the step key. The function takes one StepContext and returns a RemedyAnswer; it
    runs outside any transaction and lock of the saga.

    Raises: DefinitionError.
    """
    where = f"Remedy {name!r}"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(f"{where}: a name is a lower-case identifier of at most 40 characters.")
    if isinstance(steps, str) or not steps:
        raise DefinitionError(f"{where}: steps takes a list of step names, not {steps!r}.")
    for option, value, longest in (("label", label, MAX_LABEL_CHARS), ("changes", changes, MAX_CHANGES_CHARS)):
        if not isinstance(value, str) or len(value) > longest or (option == "label" and not value.strip()):
            raise DefinitionError(f"{where}: {option} must be a text of at most {longest} characters, not {value!r}.")
    if during is not None and during not in set(Direction):
        raise DefinitionError(f"{where}: during must be 'action', 'compensation' or None, not {during!r}.")
    check_duration(timeout, f"{where}: timeout")

    def register(function: FunctionT) -> FunctionT:
        if mistake := function_shapes.find_mistake(function):
            raise DefinitionError(f"{where}: {mistake}")
        if (definition, name) in REMEDIES:
            raise DefinitionError(f"{where} of saga {definition!r} is registered twice; give one another name.")
        REMEDIES[definition, name] = Remedy(
            name=name,
            definition=definition,
            steps=tuple(steps),
            label=label,
            changes=changes,
            during=None if during is None else Direction(during),
            timeout=timeout,
            function=function,
        )
        return function

    return register


def list_registered(definition: str) -> list[Remedy]:
    """Return the remedies of a definition, in the order of registration."""
    return [found for (owner, _), found in REMEDIES.items() if owner == definition]
