"""Serve one admin site of a project's own, and not the default one."""

from django.urls import path

from .sites import ops

urlpatterns = [path("control/", ops.urls)]
