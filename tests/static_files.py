"""Static files, scanned once per process.

Every test client loads the middleware anew, and WhiteNoise then looks at some 180 files: for most requests of a test
that is more than all the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.conf import settings
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile


@contextmanager
def found_once() -> Iterator[None]:
    """Let each middleware reuse the files of the first one under the same settings."""
    find = WhiteNoiseMiddleware.add_files_from_finders
    known: dict[str, dict[str, StaticFile]] = {}

    def add(middleware: WhiteNoiseMiddleware) -> None:
        key = repr((middleware.static_prefix, middleware.max_age, settings.INSTALLED_APPS, settings.STATICFILES_DIRS))
        if key not in known:
            find(middleware)
            known[key] = dict(middleware.files)
        middleware.files.update(known[key])

    with patch.object(WhiteNoiseMiddleware, "add_files_from_finders", add):
        yield
