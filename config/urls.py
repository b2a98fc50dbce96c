"""Map URLs to the shop, its API's documentation, the probes and the admin."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from orders.accounts.log_in_form import ThrottledAuthenticationForm
from orders.api.docs import DocsView
from orders.api.problems import refuse_unknown
from sagas.monitoring.metrics import show_metrics
from sagas.monitoring.probes import show_health, show_readiness

admin.site.login_form = ThrottledAuthenticationForm
admin.site.site_header = admin.site.site_title = "Sagas for Django"


class FaviconView(RedirectView):
    """Lead browsers that ask without being told where to the icon."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        """Name the file as it is called after its collection."""
        return static("orders/favicon.ico")


urlpatterns = [
    # The shop has no pages for customers. Here leads what looks for a site: "View site" of the admin, a bare address.
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("favicon.ico", FaviconView.as_view(), name="favicon"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("orders.urls")),
    path("api/v1/", include("sagas.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(url_name="schema"), name="docs"),
    path("healthz", show_health, name="healthz"),
    path("readyz", show_readiness, name="readyz"),
    path("metrics", show_metrics, name="metrics"),
    # Here and not only in handler404, because with DEBUG Django answers unknown addresses by a page of its own.
    # The pages for people are left to the redirect that adds a slash.
    re_path(r"^api/(?!docs$|schema$)", refuse_unknown),
]

handler400 = "orders.api.problems.refuse_bad_request"
handler403 = "orders.api.problems.refuse_permission"
handler404 = "orders.api.problems.refuse_unknown"
handler500 = "orders.api.problems.report_failure"
