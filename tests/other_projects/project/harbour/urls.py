"""The project's pages, and the admin sites that the settings name."""

from django.apps import apps
from django.conf import settings
from django.urls import path
from ferries import views

urlpatterns = [path("book/", views.book), path("book-and-fail/", views.book_and_fail)]

if apps.is_installed("django.contrib.admin"):
    from django.contrib import admin

    if settings.CONSOLE_SITE == "ops":
        from .sites import make_ops_site

        urlpatterns.append(path("ops/", make_ops_site().urls))
    if settings.CONSOLE_SITE == "admin" or getattr(settings, "HAS_BOTH_SITES", False):
        urlpatterns.append(path("admin/", admin.site.urls))
