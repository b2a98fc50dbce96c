"""Keep what lines of the engine warn of, from before it is imported."""

import importlib.util
import warnings

_warned = set()


def keep_warnings():
    """Keep every warning of something deprecated that a line of the engine raises."""
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
    """Return the warnings that were kept."""
    return sorted(_warned)
