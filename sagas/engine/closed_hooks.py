"""``on_closed`` hooks: a definition's hook is called at least once, after the commit that closed the saga.

The write that closes a saga sets on its row that a call is due. A worker claims the call under the row's lock for a
limited time (a lease), commits, and only then calls the hook, so no lock and no transaction is held meanwhile. Success
clears the call. After a failure, a worker's death or a lost wake-up, the sweep finds it when it is due again.

The hook runs in its own thread, so a hook that hangs or ends its thread costs the worker ``HOOK_TIMEOUT`` at most.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import QuerySet

from .. import clock
from ..conf import get_settings
from ..core.definition import function_shapes, registry
from ..core.definition.ending import SagaClosed
from ..core.definition.options import HookFunction
from ..core.retry import RetryPolicy
from ..databases import refresh_connection
from ..models import Saga, SagaKey
from .store.draft import SagaDraft

logger = logging.getLogger(__name__)

# 5 s, 20 s, 80 s, 5 min, 21 min, then hourly without end; each at most, because jitter takes off up to half.
DELAYS = RetryPolicy(base=5.0, factor=4.0, cap=3600.0)
LOUD_AFTER = 5  # tries, about 7 minutes; from then on each failure is logged as an error
# Tries of code that does not know the hook, in about 7 minutes: newer code may be on its way.
MISSING_TRIES = 5
MAX_HANGING = 8  # hanging hooks per process; further calls are postponed, so that threads cannot pile up


@dataclass(frozen=True, kw_only=True)
class HookCall:
    """Call of a hook that this process has claimed."""

    saga_id: UUID
    closed_at: datetime
    """The end of the saga that the call is for."""
    tries: int
    """The number of the call, from 1."""


def request_call(draft: SagaDraft) -> None:
    """Set the hook's call due if the definition has a hook, or if the code does not have the definition."""
    definition = draft.definition
    has_hook = not draft.saga.is_choreographed and (definition is None or definition.on_closed is not None)
    draft.saga.hook_due_at, draft.saga.hook_tries = (draft.now if has_hook else None), 0


def cancel_call(draft: SagaDraft) -> None:
    """Cancel the call, because the saga is open again; its next end gets a call of its own."""
    draft.saga.hook_due_at, draft.saga.hook_tries = None, 0


def is_owed(draft: SagaDraft) -> bool:
    """Return whether a call is due now."""
    return draft.saga.hook_due_at is not None and draft.saga.hook_due_at <= draft.now


def claim_call(draft: SagaDraft) -> HookCall | None:
    """Claim the call for this process until its lease ends; return None when none is due."""
    saga = draft.saga
    if not is_owed(draft) or saga.closed_at is None:
        return None
    settings = get_settings()
    saga.hook_tries += 1
    saga.hook_due_at = draft.now + settings.hook_timeout + settings.lease_margin
    return HookCall(saga_id=saga.pk, closed_at=saga.closed_at, tries=saga.hook_tries)


def call(taken: HookCall) -> None:
    """Call the hook and record the result. Never raises; a call that failed is due again later.

    Tx: must not be inside one; if it is (in tests), the hook runs in this thread and inside the transaction.
    """
    try:
        refresh_connection(get_settings().database)
        closed = _read(taken)
        if closed is None:
            return
        hook = _find_hook(closed)
        if hook is None:
            _note_missing(taken, closed)
        else:
            run(taken, hook, closed)
    except Exception:
        logger.warning("Hook not called; trying again later.", extra={"saga_id": str(taken.saga_id)}, exc_info=True)


def _read(taken: HookCall) -> SagaClosed | None:
    """Return the end of the saga that the call is for, or None when the saga is gone or open again."""
    using = get_settings().database
    saga = Saga.objects.using(using).filter(pk=taken.saga_id, closed_at=taken.closed_at).first()
    if saga is None:
        return None
    keys = SagaKey.objects.using(using).filter(saga_id=taken.saga_id).order_by("name")
    return SagaClosed(
        saga_id=saga.pk,
        definition=saga.definition,
        version=saga.version,
        state=saga.state,
        business_keys=dict(keys.values_list("name", "value")),
        cause=saga.cause,
        started_at=saga.created_at,
        closed_at=taken.closed_at,
        tries=taken.tries,
    )


def _find_hook(closed: SagaClosed) -> HookFunction | None:
    definition = registry.find(closed.definition, closed.version)
    return definition.on_closed if definition is not None else None


def run_in_thread(taken: HookCall, hook: HookFunction, closed: SagaClosed) -> None:
    """Run a hook in another thread, and wait for it no longer than ``HOOK_TIMEOUT``."""
    if connections[get_settings().database].in_atomic_block:
        run_here(taken, hook, closed)
        return
    if _count_hanging() >= MAX_HANGING:
        logger.error("Hook not called: too many hooks of this process are hanging.", extra=_facts(closed))
        _postpone(taken)
        return
    thread = _HookThread(taken, hook, closed)
    thread.start()
    thread.join(get_settings().hook_timeout.total_seconds())
    if thread.leave():
        _hanging.append(thread)
        logger.error("Hook is still running; it is called again unless it succeeds.", extra=_facts(closed))
        _postpone(taken)
    else:
        _note(taken, closed, thread.error)


def run_here(taken: HookCall, hook: HookFunction, closed: SagaClosed) -> None:
    """Run a hook in this thread; used by ``sagas.testing``, because only this thread sees a test's transaction."""
    using = get_settings().database
    is_nested = connections[using].in_atomic_block
    error: BaseException | None = None
    try:
        with transaction.atomic(using=using) if is_nested else nullcontext():
            _call(hook, closed)
    except BaseException as raised:  # noqa: BLE001 - whatever a hook raises, the saga is closed
        error = raised
    _note(taken, closed, error)


run: Callable[[HookCall, HookFunction, SagaClosed], None] = run_in_thread
"""The function that runs a hook; only ``sagas.testing`` replaces it."""
_hanging: list[_HookThread] = []


class _HookThread(threading.Thread):
    """Call of a hook. The waiting thread records how it ended; if none waits any more, this thread does."""

    def __init__(self, taken: HookCall, hook: HookFunction, closed: SagaClosed) -> None:
        super().__init__(name="sagas-on-closed", daemon=True)
        self.error: BaseException | None = None
        self._taken, self._hook, self._closed = taken, hook, closed
        self._lock = threading.Lock()
        self._has_ended = self._is_left = False

    def run(self) -> None:
        """Call the hook."""
        try:
            _call(self._hook, self._closed)
        except BaseException as error:  # noqa: BLE001 - whatever a hook raises, the worker goes on
            self.error = error
        finally:
            connections.close_all()
        with self._lock:
            self._has_ended = True
        if self._is_left:
            self._note_late()

    def leave(self) -> bool:
        """Stop waiting for the hook, and return whether it still runs."""
        with self._lock:
            self._is_left = not self._has_ended
        return self._is_left

    def _note_late(self) -> None:
        try:
            _note(self._taken, self._closed, self.error)
        except (DatabaseError, InterfaceError):
            logger.warning("End of a hook not recorded; it is called again.", extra=_facts(self._closed), exc_info=True)
        finally:
            connections.close_all()


def _count_hanging() -> int:
    _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
    return len(_hanging)


def _call(hook: HookFunction, closed: SagaClosed) -> None:
    function_shapes.require_finished(hook(closed), f"Hook {function_shapes.name_of(hook)}")


def _note(taken: HookCall, closed: SagaClosed, error: BaseException | None) -> None:
    if error is None:
        _clear_call(taken)
        return
    level = logging.ERROR if taken.tries >= LOUD_AFTER else logging.WARNING
    logger.log(level, "Hook failed; it is called again.", extra=_facts(closed), exc_info=error)
    _postpone(taken)


def _note_missing(taken: HookCall, closed: SagaClosed) -> None:
    """Postpone the call, because newer code may know the hook; after some tries, clear it."""
    if taken.tries < MISSING_TRIES:
        logger.info("This code does not have the hook of a saga; checking again later.", extra=_facts(closed))
        _postpone(taken)
    else:
        logger.warning("Hook or its definition no longer exists; it is not called.", extra=_facts(closed))
        _clear_call(taken)


def _clear_call(taken: HookCall) -> None:
    """Clear the call for this end of the saga, even if another process has claimed it meanwhile."""
    _select(taken).update(hook_due_at=None, hook_tries=0)


def _postpone(taken: HookCall) -> None:
    """Set when the call is due again, unless another process has claimed it meanwhile."""
    now = clock.read_now(get_settings().database)
    due_at = now + timedelta(seconds=DELAYS.delay_seconds(used=taken.tries))
    _select(taken).filter(hook_tries=taken.tries).update(hook_due_at=due_at)


def _select(taken: HookCall) -> QuerySet[Saga]:
    rows = Saga.objects.using(get_settings().database)
    return rows.filter(pk=taken.saga_id, closed_at=taken.closed_at, hook_due_at__isnull=False)


def _facts(closed: SagaClosed) -> dict[str, Any]:
    return {
        "saga_id": str(closed.saga_id), "definition": closed.definition, "state": closed.state, "tries": closed.tries,
    }  # fmt: skip
