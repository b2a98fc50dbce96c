"""Menu of the console, the same on every page of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.text import slugify

from ...events.dead_count import count_dead
from ...events.settings import get_event_settings
from ...operators.event_operations import VIEW as VIEW_EVENT
from ...operators.queries.menu_data import show_count
from .addresses import find_url, site_of
from .frame import has_own_frame
from .list_order import SEVEREST
from .menu_data import menu_data_of
from .saved_views import View, list_saved_views, list_url

DEAD_LETTERS = "Dead letters"
NEEDS = {"needs": "any", "by": SEVEREST}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Entry of the menu."""

    label: str
    url: str
    is_current: bool
    count: str | None = None
    """Number beside it, empty for none; None for an entry that counts nothing."""
    is_urgent: bool = False
    """Whether the number asks for an operator."""

    @property
    def count_id(self) -> str:
        """Id of the element with the number."""
        return f"saga-count-{slugify(self.label)}"


@dataclass(frozen=True, kw_only=True)
class Menu:
    """Menu of a user on an admin site."""

    entries: tuple[Entry, ...]
    views: tuple[View, ...]
    """Saved views of the list."""
    views_url: str
    """Page of the saved views."""
    is_at_views: bool
    """Whether this is it, or a form that belongs to it."""
    attention: int
    """Number of sagas that need attention."""
    attention_url: str
    """List of them."""
    sagas_url: str
    """List of all sagas."""
    has_column: bool
    """Whether it takes the place of the site's own list of applications; otherwise it is a strip."""

    @property
    def attention_words(self) -> str:
        """The number of sagas that need attention, in words."""
        if self.attention == 1:
            return "1 saga needs attention"
        return f"{show_count(self.attention) or 'No'} sagas need attention"


def build_menu(request: HttpRequest) -> Menu | None:
    """Return the menu, or None without the permission to view sagas or on a site without them."""
    site = site_of(request)
    if not request.user.has_perm("sagas.view_saga") or not list_url(site):
        return None
    counts = menu_data_of(request)
    views_url = find_url(site, "sagas_saga_views")
    is_at_views = bool(views_url) and request.path.startswith(views_url)
    return Menu(
        entries=tuple(_list_entries(request, site, show_count(counts.attention), show_count(counts.bulks))),
        views=tuple(list_saved_views(request)),
        views_url=views_url,
        is_at_views=is_at_views,
        attention=counts.attention,
        attention_url=list_url(site, **NEEDS),
        sagas_url=list_url(site),
        has_column=has_own_frame(),
    )


def _list_entries(request: HttpRequest, site: str, attention: str, bulks: str) -> Iterator[Entry]:
    is_needs = "needs" in request.GET
    listed = list_url(site)
    may = request.user.has_perm
    places: list[tuple[str, str, str | None]] = [
        ("Overview", find_url(site, "app_list", "sagas"), None),
        ("Sagas", listed, None),
        ("Failures", find_url(site, "sagas_saga_failures"), None),
        ("Bulks", find_url(site, "sagas_sagabulk_changelist") if may("sagas.view_sagabulk") else "", bulks),
        ("Definitions", find_url(site, "sagas_saga_definitions"), None),
        ("Workers", find_url(site, "sagas_sagaworker_changelist") if may("sagas.view_sagaworker") else "", None),
        ("Operator log", find_url(site, "sagas_saga_log"), None),
        ("Barriers", find_url(site, "sagas_sagabarrier_changelist") if may("sagas.view_sagabarrier") else "", None),
        ("Accesses", find_url(site, "sagas_sagaaccess_changelist") if may("sagas.view_sagaaccess") else "", None),
        *_list_event_places(request, site),
    ]
    pages = [*(url for _, url, _ in places), find_url(site, "sagas_saga_views")]
    inner = [url for url in pages if url and request.path.startswith(url)]
    here = max(inner, key=len, default="")
    urgent = {label for label, _, count in places if label == DEAD_LETTERS and count}
    for label, url, count in places:
        if url == listed:
            is_current = request.path == listed and is_needs
            yield Entry(
                label="Needs attention", url=list_url(site, **NEEDS), count=attention, is_urgent=bool(attention),
                is_current=is_current,
            )  # fmt: skip
            yield Entry(label=label, url=url, is_current=here == url and not is_current)
        elif url:
            yield Entry(label=label, url=url, count=count, is_current=here == url, is_urgent=label in urgent)


def _list_event_places(request: HttpRequest, site: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the pages about events while events are on, for users who may see them."""
    if not get_event_settings().are_on or not request.user.has_perm(f"sagas.{VIEW_EVENT}"):
        return
    yield "Events", find_url(site, "sagas_saga_events"), None
    yield DEAD_LETTERS, find_url(site, "sagas_saga_dead_letters"), show_count(count_dead())
    yield "Delivery", find_url(site, "sagas_saga_delivery"), None
    yield "Catalogue", find_url(site, "sagas_saga_catalogue"), None
