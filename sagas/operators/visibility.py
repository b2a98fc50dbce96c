"""Visibility: what a reader sees of a saga besides its states."""

from enum import IntEnum

from .actor import Actor

VIEW_ERROR, VIEW_PAYLOAD = "view_error", "view_payload"


class Visibility(IntEnum):
    """Level of what a reader sees; each one includes those before it."""

    STATES = 0
    """States, times, classes of errors, and what operators wrote."""
    ERRORS = 1
    """Error texts, too."""
    PAYLOADS = 2
    """Inputs, results, tracebacks and the engine's data, too; all of them may quote errors."""

    @property
    def has_errors(self) -> bool:
        """Whether error texts are shown."""
        return self >= Visibility.ERRORS

    @property
    def has_payloads(self) -> bool:
        """Whether payloads are shown."""
        return self is Visibility.PAYLOADS


def find_visibility(actor: Actor) -> Visibility:
    """Return what the permissions of an actor allow it to see."""
    if actor.may(VIEW_PAYLOAD):
        return Visibility.PAYLOADS
    return Visibility.ERRORS if actor.may(VIEW_ERROR) else Visibility.STATES


def show_error(text: str, *, with_errors: bool) -> str:
    """Return an error for a reader: the whole text, or its class alone."""
    return text if with_errors else text.partition(":")[0]
