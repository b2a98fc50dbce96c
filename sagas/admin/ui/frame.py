"""Frame of the console's pages: its own, or that of the project's admin theme."""

from django.apps import apps


def has_own_frame() -> bool:
    """Return whether the console's menu and list take the place of the admin's; django-unfold keeps its own."""
    return not apps.is_installed("unfold")
