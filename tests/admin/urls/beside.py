"""URLs of a project with several admin sites, the default one first."""

from django.contrib import admin
from django.urls import path

from .sites import desk, ops, sagas_alone, without_sagas

urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/", ops.urls),
    path("deep/down/desk/", desk.urls),
    path("alone/", sagas_alone.urls),
    path("without/", without_sagas.urls),
]
