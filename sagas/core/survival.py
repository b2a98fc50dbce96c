"""Decide which exceptions end a loop that works for everybody."""

from __future__ import annotations


def ends_process(error: BaseException) -> bool:
    """Return whether somebody wants this process to end; anything else, such as a cancelled task of asyncio that
    escapes from a step, concerns one saga.
    """
    return isinstance(error, SystemExit | KeyboardInterrupt)
