"""Recorder of deprecation warnings from the engine, started before it is imported."""

import importlib.util
import warnings

_warned = set()


def keep_warnings():
    """Record every deprecation warning raised by a line of the engine."""
    [package] = importlib.util.find_spec("sagas").submodule_search_locations
    tell = warnings.showwarning

    def keep(message, category, filename, *where, **more):
        if issubclass(category, DeprecationWarning | PendingDeprecationWarning) and filename.startswith(package):
            _warned.add(f"{category.__name__}: {message}")
        else:
            tell(message, category, filename, *where, **more)

    warnings.simplefilter("always", DeprecationWarning)
    warnings.simplefilter("always", PendingDeprecationWarning)
    warnings.showwarning = keep


def list_warnings():
    """Return the recorded warnings."""
    return sorted(_warned)
