"""The list of what is driven: functions in their order, each with a plain value for a result."""

import traceback

FEATS = {}


def feat(function):
    """Make a function one of the things that are driven."""
    FEATS[function.__name__] = function
    return function


def drive(name):
    """Drive one thing.

    Returns: what came of it; the error as text where one escaped, whose traceback goes to standard error.
    """
    try:
        return FEATS[name]()
    except Exception as error:  # noqa: BLE001 - whatever escapes is what came of it
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
