"""Data of the menu, read once for a request."""

from django.http import HttpRequest

from ...operators.queries.menu_data import MenuData, read_menu_data


def menu_data_of(request: HttpRequest) -> MenuData:
    """Return the menu's data for the user of a request."""
    found: MenuData | None = getattr(request, "saga_menu_data", None)
    if found is None:
        found = read_menu_data(str(request.user.pk))
        request.saga_menu_data = found  # type: ignore[attr-defined]
    return found
