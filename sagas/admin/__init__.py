"""Show sagas to the people who operate them: the console, inside Django's own admin.

Everything is rendered by the server and works without JavaScript. Nobody edits a row by hand here: a person acts
through ``sagas.operators.operations``, on a page that shows the plan and asks for a reason.
"""

from __future__ import annotations

from . import saga_admin  # noqa: F401 - register themselves
from .bulks import bulk_admin  # noqa: F401 - register themselves
from .dashboard import workers  # noqa: F401 - register themselves
from .reports import access_admin  # noqa: F401 - register themselves
