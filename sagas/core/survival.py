"""Exceptions that end the loops of a process. Pure: no Django import."""


def ends_process(error: BaseException) -> bool:
    """Return whether an exception asks this process to end; others, such as CancelledError, concern one saga only."""
    return isinstance(error, SystemExit | KeyboardInterrupt)
