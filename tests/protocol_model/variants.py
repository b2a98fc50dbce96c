"""Sagas that the search runs, each as small as its question allows.

The bounds are chosen so that all of them together take about a minute on one core.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .rows import Model, Spec
from .rules import ALL_RULES, CORE_RULES

RESERVE = Spec("reserve", "compensatable", "engine", 0, takes_stock=True)
AUTHORIZE = Spec("authorize", "compensatable", "provider", 1, can_refuse=True)
CAPTURE = Spec("capture", "pivot", "provider", 2, can_refuse=True)
SHIP = Spec("ship", "retriable", "engine", 3)
PAYMENT = (AUTHORIZE._replace(rank=0), CAPTURE._replace(rank=1))

MARKS = ("mark succeeded", "mark refused", "mark compensated")
OPERATIONS = ("force compensate", "cancel", "retry", "skip", *MARKS, "pause", "resume", "abandon")

CHECKOUT = Model(
    name="checkout", steps=(RESERVE, AUTHORIZE, CAPTURE, SHIP), rules=CORE_RULES, faults=3, has_deadline=True
)
OPERATED = CHECKOUT._replace(
    name="checkout with people", rules=CORE_RULES | {"same attempts"}, faults=2, acts=1, operations=OPERATIONS
)
WORD = Model(
    name="a person's word",
    steps=PAYMENT,
    rules=CORE_RULES | {"same attempts"},
    faults=2,
    attempts=3,
    acts=2,
    operations=OPERATIONS,
)
FORM = WORD._replace(name="a form", rules=CORE_RULES, attempts=2, acts=1, operations=("mark refused",))
OWN_DATABASE = Model(
    name="a database of its own",
    steps=(RESERVE._replace(place="own", can_refuse=True), CAPTURE._replace(rank=1)),
    rules=CORE_RULES | {"one undo"},
    faults=3,
    acts=1,
    operations=("force compensate", "retry"),
)
OPEN_KEYS = Model(
    name="keys that stay open",
    steps=PAYMENT,
    rules=CORE_RULES | {"late epoch"},
    faults=3,
    acts=1,
    operations=("force compensate", "retry"),
    can_close_keys=False,
)
LOOKS_TWICE = OPEN_KEYS._replace(name="a second look", rules=CORE_RULES, looks_twice=True)
GROUP = Model(
    name="a parallel group",
    steps=(RESERVE._replace(can_refuse=True), *PAYMENT),
    rules=CORE_RULES,
    faults=2,
    has_deadline=True,
)
LAST_UNIT = Model(
    name="the last unit",
    steps=(RESERVE, CAPTURE._replace(rank=1)),
    rules=CORE_RULES,
    faults=3,
    has_deadline=True,
    has_rival=True,
)


class Run(NamedTuple):
    """Expected result of a search of a model with all its rules."""

    model: Model
    states: int
    """Lower bound, so that a model which stopped moving is noticed."""


RUNS = (
    Run(CHECKOUT, 70_000),
    Run(OPERATED, 90_000),
    Run(WORD, 70_000),
    Run(FORM, 6_000),
    Run(OWN_DATABASE, 70_000),
    Run(OPEN_KEYS, 80_000),
    Run(LOOKS_TWICE, 120_000),
    Run(GROUP, 20_000),
    Run(LAST_UNIT, 2_000),
)


def complete(model: Model) -> Model:
    """Return a model with all rules together, as in the engine; the others show what holds without some."""
    return model._replace(rules=ALL_RULES)


BEYOND = (
    complete(CHECKOUT._replace(faults=4)),
    complete(GROUP._replace(faults=3)),
    complete(OWN_DATABASE._replace(acts=2, faults=2, operations=OPERATIONS)),
    complete(OPEN_KEYS._replace(acts=2, faults=2, operations=OPERATIONS)),
)
"""Wider bounds than in the tests, with all rules."""


class Removal(NamedTuple):
    """Model and invariant that show the lack of a rule."""

    model: Model
    invariant: str


REMOVALS: Mapping[str, Removal] = {
    "token": Removal(CHECKOUT, "I10"),
    "attempt row": Removal(WORD, "I10"),
    "maybe": Removal(WORD, "I10"),
    "wait for live": Removal(GROUP, "S3"),
    "live lease": Removal(GROUP, "I2"),
    "reverse order": Removal(CHECKOUT, "I5"),
    "fresh claim": Removal(CHECKOUT, "I6"),
    "lock": Removal(WORD, "I10"),
    "turn back at once": Removal(GROUP, "I9"),
    "pivot held": Removal(LAST_UNIT, "I9"),
    "abort waits": Removal(WORD, "I6"),
    "one commit": Removal(CHECKOUT, "I10"),
    "refusal": Removal(WORD, "I10"),
    "own refusal": Removal(OWN_DATABASE, "I10"),
    "definite": Removal(GROUP, "S0"),
    "late effect": Removal(OPEN_KEYS, "I10"),
    "second look": Removal(LOOKS_TWICE, "I10"),
    "late epoch": Removal(OPEN_KEYS, "I10"),
    "late pivot": Removal(WORD, "I9"),
    "epoch": Removal(OPEN_KEYS, "I10"),
    "revision": Removal(FORM, "I10"),
    "same attempts": Removal(WORD, "I10"),
    "sweep": Removal(CHECKOUT, "I9"),
    "barrier": Removal(OWN_DATABASE, "I7"),
    "one undo": Removal(OWN_DATABASE, "I10"),
    "closed key": Removal(WORD, "I10"),
    "stable key": Removal(CHECKOUT, "I7"),
    "first answer": Removal(LAST_UNIT, "I7"),
    "conditional stock": Removal(LAST_UNIT, "I10"),
}
NEEDLESS: Mapping[str, tuple[Model, ...]] = {
    "guarded write": (GROUP, LAST_UNIT, FORM),
    "late answer": (GROUP, LAST_UNIT, FORM),
}
"""Rules that the model does not need; the page says why they exist."""


def remove(model: Model, *rules: str) -> Model:
    """Return a model without some of its rules."""
    return model._replace(rules=model.rules - set(rules))
