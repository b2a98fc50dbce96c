"""Lists of sagas for the API and the commands: one found by its id or business key, or a page of a filter.

The console's list is ``admin.saga_admin.SagaList``. Reads only, on indexes only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ... import clock
from ...conf import get_settings
from ...core.states import SagaState
from ...exceptions import SagaError, SagaNotFound
from ...models import Saga, SagaKey, SagaStep
from .. import presentation
from .saga_filter import SagaFilter
from .search import bound_ids

DEFAULT_LIMIT, MAX_LIMIT = 50, 1_000
MAX_CANDIDATES = 10  # listed when a prefix or a key matches several sagas


class SeveralSagas(SagaError):
    """A prefix or a business key matches more than one saga."""


@dataclass(frozen=True, kw_only=True)
class ListedSaga:
    """One saga in a line."""

    id: UUID
    definition: str
    version: int
    keys: dict[str, str]
    """Business keys by name."""
    state: str
    display_state: str
    """Its display state; see ``presentation.DisplayState``."""
    needs: tuple[str, ...]
    """Holds and reasons for attention, of the saga and its steps; empty: no operator has to act."""
    step: str
    """The current step, or an empty string."""
    step_state: str
    step_display_state: str
    """Display state of that step, or an empty string."""
    attempts: int
    """Attempts of that step in the saga's present direction."""
    last_error: str
    error_class: str
    """Class of the last error, for readers who may not see its text."""
    revision: int
    created_at: datetime
    due_at: datetime | None
    closed_at: datetime | None

    def as_dict(self, *, with_errors: bool = True) -> dict[str, Any]:
        """Return plain data; without ``with_errors`` the class of the last error instead of its text.

        Shape: the fields by name without ``error_class``, times as ISO 8601 texts.
        """
        moments = {name: getattr(self, name) for name in ("created_at", "due_at", "closed_at")}
        return {
            "id": str(self.id), "definition": self.definition, "version": self.version, "keys": self.keys,
            "state": self.state, "display_state": self.display_state, "needs": list(self.needs), "step": self.step,
            "step_state": self.step_state, "step_display_state": self.step_display_state, "attempts": self.attempts,
            "last_error": self.last_error if with_errors else self.error_class, "revision": self.revision,
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        }  # fmt: skip


def find_saga(text: str, *, by_key: bool = False) -> UUID:
    """Return the id that a text means: an id, its unique prefix, a step key or, with ``by_key``, a business key.

    Raises: SagaNotFound; SeveralSagas.
    """
    bounds = bound_ids(text)
    found = _find_by_id(bounds) if bounds else []
    if not found and by_key:
        found = _find_by_key(text) or _find_by_key(text.upper())
    if len(found) == 1:
        return found[0].pk
    if not found:
        what = "id or business key" if by_key else "id"
        raise SagaNotFound(f"There is no saga with the {what} {text!r}; saga_list lists the sagas.")
    candidates = [f"{saga.pk} ({saga.definition}, {saga.state})" for saga in found[:MAX_CANDIDATES]]
    more = ", and more" if len(found) > MAX_CANDIDATES else ""
    raise SeveralSagas(f"{text!r} matches several sagas; give more of the id: {', '.join(candidates)}{more}.")


def list_sagas(wanted: SagaFilter, limit: int = DEFAULT_LIMIT) -> list[ListedSaga]:
    """Return a page of sagas, newest first."""
    return describe_sagas(list(wanted.select()[: min(limit, MAX_LIMIT)]))


def describe_sagas(rows: Sequence[Saga]) -> list[ListedSaga]:
    """Return each saga in a line, in the given order, with three statements however many there are."""
    using = get_settings().database
    ids = [saga.pk for saga in rows]
    steps: dict[UUID, list[SagaStep]] = {pk: [] for pk in ids}
    for step in SagaStep.objects.using(using).filter(saga_id__in=ids).order_by("position").defer("result"):
        steps[step.saga_id].append(step)
    keys: dict[UUID, dict[str, str]] = {pk: {} for pk in ids}
    for key in SagaKey.objects.using(using).filter(saga_id__in=ids).order_by("name"):
        keys[key.saga_id][key.name] = key.value
    now = clock.read_now(using)
    return [_describe(saga, steps[saga.pk], keys[saga.pk], now) for saga in rows]


def _find_by_id(bounds: tuple[UUID, UUID]) -> list[Saga]:
    rows = Saga.objects.using(get_settings().database).filter(id__range=bounds).order_by("id")
    return list(rows.only("definition", "state")[: MAX_CANDIDATES + 1])


def _find_by_key(text: str) -> list[Saga]:
    using = get_settings().database
    holders = SagaKey.objects.using(using).filter(value=text).values("saga_id")
    rows = Saga.objects.using(using).filter(pk__in=holders).order_by("-created_at", "-id")
    return list(rows.only("definition", "state")[: MAX_CANDIDATES + 1])


def _describe(saga: Saga, steps: list[SagaStep], keys: dict[str, str], now: datetime) -> ListedSaga:
    current = presentation.current_step(saga, steps)
    attempts = 0
    if current is not None:
        is_going_back = saga.state == SagaState.COMPENSATING
        attempts = current.compensation_attempts if is_going_back else current.action_attempts
    return ListedSaga(
        id=saga.pk,
        definition=saga.definition,
        version=saga.version,
        keys=keys,
        state=saga.state,
        display_state=presentation.judge_saga(saga, steps, now).value,
        needs=tuple(presentation.reasons_of(saga, steps)) if saga.closed_at is None else (),
        step=current.name if current else "",
        step_state=current.state if current else "",
        step_display_state=presentation.judge_step(current, saga).value if current else "",
        attempts=attempts,
        last_error=_find_error(saga, current),
        error_class=_find_error_class(saga, current),
        revision=saga.revision,
        created_at=saga.created_at,
        due_at=saga.due_at,
        closed_at=saga.closed_at,
    )


def _find_error(saga: Saga, current: SagaStep | None) -> str:
    if current is not None and current.last_error:
        return current.last_error.splitlines()[0]
    text = str((saga.cause or {}).get("message") or (saga.cause or {}).get("reason") or "")
    return text.splitlines()[0] if text else ""


def _find_error_class(saga: Saga, current: SagaStep | None) -> str:
    if current is not None and current.last_error:
        return str(current.last_error).partition(":")[0]
    return str((saga.cause or {}).get("error_class") or "")
