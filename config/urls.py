"""URLs of the shop's API, its documentation, the probes and the admin."""

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
    """Redirect from the browsers' default address to the icon."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        """Return the URL of the collected file."""
        return static("orders/favicon.ico")


urlpatterns = [
    # The shop has no pages for customers. The admin's "View site" and requests for the bare address come here.
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
    # Not only in handler404, because with DEBUG Django answers unknown addresses with its own page.
    # HTML pages are excluded, so that the redirect which adds a slash works.
    re_path(r"^api/(?!docs$|schema$)", refuse_unknown),
]

handler400 = "orders.api.problems.refuse_bad_request"
handler403 = "orders.api.problems.refuse_permission"
handler404 = "orders.api.problems.refuse_unknown"
handler500 = "orders.api.problems.report_failure"
