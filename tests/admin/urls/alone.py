"""URLs of a project with one custom admin site and no default one."""

from django.urls import path

from .sites import ops

urlpatterns = [path("control/", ops.urls)]
