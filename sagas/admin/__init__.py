"""Operators' console for sagas, inside Django's admin.

The server renders every page, and every page works without JavaScript. Rows cannot be edited by hand: operators act
through ``sagas.operators.operations``, on a page that shows the preview and asks for a reason.
"""

from . import saga_admin  # noqa: F401 - register themselves
from .bulks import bulk_admin  # noqa: F401 - register themselves
from .dashboard import workers  # noqa: F401 - register themselves
from .reports import access_admin  # noqa: F401 - register themselves
