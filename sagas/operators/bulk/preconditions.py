"""Preconditions of bulks: which operations can be applied to many sagas, and why the others cannot.

Tx: none needed; nothing is read but accounts.
"""

from collections.abc import Mapping

from ...exceptions import BadRequest, PermissionRefused
from ..actor import Actor
from ..preconditions import PERMISSIONS, Operation

BULK_PERMISSION = "bulk_saga"
# In the order in which they are offered, the mildest first.
BULK_OPERATIONS = (Operation.RETRY, Operation.PAUSE, Operation.RESUME, Operation.CANCEL, Operation.COMPENSATE)
CONFIRM_COUNT_ABOVE = 100  # a larger set is confirmed by typing its number of sagas
EVERYTHING = "every open saga"  # the text to type to confirm a set without a filter

NEEDS_EVIDENCE = "It needs evidence of what happened to this one step of this one saga."
REASONS_AGAINST: Mapping[Operation, str] = {
    Operation.SKIP: "It needs a step, and the result that later steps of this one saga read.",
    Operation.MARK_SUCCEEDED: NEEDS_EVIDENCE,
    Operation.MARK_REFUSED: NEEDS_EVIDENCE,
    Operation.MARK_COMPENSATED: NEEDS_EVIDENCE,
    Operation.ABANDON: "Each saga leaves different effects behind; an operator must read the list first.",
}


def require_bulk_operation(operation: Operation) -> None:
    """Check that an operation can be applied to many sagas at once.

    Raises: BadRequest with the reason.
    """
    if operation not in BULK_OPERATIONS:
        name = operation.value.replace("_", " ")
        raise BadRequest(f"{name} is not available in bulk. {REASONS_AGAINST[operation]}")


def require_permissions(actor: Actor, operation: Operation) -> None:
    """Check that an actor may apply this operation to many sagas.

    Raises: PermissionRefused.
    """
    if lapse := find_lapse(actor, operation):
        raise PermissionRefused(lapse)


def find_lapse(actor: Actor, operation: Operation) -> str:
    """Return why an actor may not apply this operation to many sagas, in a sentence; an empty string otherwise."""
    if not actor.is_trusted and actor.user is None:
        return f"The account of {actor.name} does not exist any more."
    if actor.user is not None and not actor.user.is_active:
        return f"The account of {actor.name} is not active any more."
    for permission in (BULK_PERMISSION, PERMISSIONS[operation]):
        if not actor.may(permission):
            return f"{actor.name} lacks the permission sagas.{permission}."
    return ""
