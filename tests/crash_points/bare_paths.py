"""Paths of the saga whose participants have no protection of their own."""

from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID

from sagas import SagaDefinition
from sagas.operators import operations

from .bare import BARE_COMPENSATED, BARE_COMPLETED, OWNER, cancel_bare, read_bare, start_bare
from .enumeration import Path
from .shop import advance, describe_differences, finish

FORWARD_ATTEMPTS = 3  # before the pivot


def make_forward(definition: type[SagaDefinition], *, is_cancelled: bool = False) -> Path[UUID]:
    """Describe the way forward; if cancelled after a crash, the saga may also end compensated."""

    def recover(saga_id: UUID) -> None:
        if is_cancelled:
            cancel_bare(saga_id)
        finish(saga_id)

    worlds = (BARE_COMPLETED, BARE_COMPENSATED) if is_cancelled else (BARE_COMPLETED,)
    return Path(
        name="bare saga, forward, then cancelled" if is_cancelled else "bare saga, forward",
        prepare=lambda: start_bare(definition), run=advance, recover=recover, least=50,
        judge=lambda saga_id: describe_differences(read_bare(saga_id), *worlds),
    )  # fmt: skip


def make_backward(definition: type[SagaDefinition]) -> Path[UUID]:
    """Describe the way back, from the claim of the pivot that is refused."""

    def prepare() -> UUID:
        saga_id = start_bare(definition, is_refused=True)
        advance(saga_id, attempts=FORWARD_ATTEMPTS)
        return saga_id

    def recover(saga_id: UUID) -> None:
        finish(saga_id)
        mark_pivot_refused(saga_id)
        finish(saga_id)

    return Path(
        name="bare saga, backward", prepare=prepare, run=advance, recover=recover, least=40,
        judge=lambda saga_id: describe_differences(read_bare(saga_id), BARE_COMPENSATED),
    )  # fmt: skip


def mark_pivot_refused(saga_id: UUID) -> None:
    """Mark the pivot refused after a look-up, as an operator does when its outcome is unknown.

    With its own database a refused pivot is held if an earlier attempt lost its worker: that call may still arrive.
    """
    if read_bare(saga_id)["holds"] == [("decide", "outcome_unknown")]:
        operations.mark_refused(
            saga_id, actor=OWNER, reason="Nothing was decided.", step="decide", evidence="The books show nothing."
        )


WAYS: Mapping[str, Callable[[type[SagaDefinition]], Path[UUID]]] = {
    "forward": make_forward,
    "backward": make_backward,
    "cancelled": partial(make_forward, is_cancelled=True),
}
