"""Addresses below ``sagas/``. Include them in the project's API."""

from django.urls import path

from ..transactions import without_requests_transactions
from . import views

app_name = "sagas-api"

urlpatterns = [
    path("sagas/", views.SagaListView.as_view(), name="sagas"),
    path("sagas/bulks/", views.SagaBulkListView.as_view(), name="bulks"),
    path("sagas/bulks/<uuid:bulk_id>/", views.SagaBulkView.as_view(), name="bulk"),
    path("sagas/bulks/<uuid:bulk_id>/results/", views.SagaBulkResultsView.as_view(), name="bulk-results"),
    path("sagas/bulks/<uuid:bulk_id>/start/", views.SagaBulkStartView.as_view(), name="bulk-start"),
    path("sagas/bulks/<uuid:bulk_id>/stop/", views.SagaBulkStopView.as_view(), name="bulk-stop"),
    path("sagas/<uuid:saga_id>/", views.SagaView.as_view(), name="saga"),
    path("sagas/<uuid:saga_id>/notes/", views.SagaNotesView.as_view(), name="notes"),
    path("sagas/<uuid:saga_id>/actions/<slug:action>/", views.SagaActionView.as_view(), name="action"),
    path(
        "sagas/<uuid:saga_id>/remedies/",
        without_requests_transactions(views.SagaRemedyView.as_view()),
        name="remedies",
    ),
]
