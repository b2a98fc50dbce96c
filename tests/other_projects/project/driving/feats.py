"""List of features: functions in order, each with a plain result."""

import traceback

FEATS = {}


def feat(function):
    """Register a function as a feature."""
    FEATS[function.__name__] = function
    return function


def drive(name):
    """Run one feature.

    Returns: its result, or an escaped error as text, whose traceback goes to standard error.
    """
    try:
        return FEATS[name]()
    except Exception as error:  # noqa: BLE001 - whatever escapes is what came of it
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
