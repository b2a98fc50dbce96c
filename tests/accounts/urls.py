"""URLs: the console and the operators' API."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("api/", include("sagas.api.urls"))]
