"""Lead from a saga to the pages of what it is about. The engine knows no participant, so they register themselves.

::

    # orders/admin.py
    def link_order(saga: Saga, number: str) -> Iterable[Link]:
        yield Link(label=f"Order {number}", page="orders_order_changelist", query={"q": number})

    links.register("order", link_order)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.urls import NoReverseMatch

from ..models import Saga
from .ui.addresses import find_url


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way to a page of the admin, or to any other address.

    Raises: ValueError when both are named.
    """

    label: str
    """What to read."""
    url: str = ""
    """Where it leads, if that is no page of the admin."""
    page: str = ""
    """A page of the admin by its name, such as ``orders_order_changelist``: it is looked for on the site that the
    reader is on, and the link is left out where that site does not have it."""
    args: tuple[Any, ...] = ()
    """What the address of the page is made with, such as the id of an object."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What stands behind the question mark of the page."""

    def __post_init__(self) -> None:
        if self.url and self.page:
            raise ValueError(
                f"The link {self.label!r} has an address and names a page of the admin; it needs one of them."
            )


Resolver = Callable[[Saga, str], Iterable[Link]]

_resolvers: dict[str, list[Resolver]] = {}


def register(key_name: str, resolver: Resolver) -> None:
    """Let ``resolver`` make links from every business key of this name; the same one again changes nothing."""
    known = _resolvers.setdefault(key_name, [])
    if resolver not in known:
        known.append(resolver)


def unregister(key_name: str, resolver: Resolver) -> None:
    """Forget a resolver; one that is not known is no error."""
    if resolver in _resolvers.get(key_name, []):
        _resolvers[key_name].remove(resolver)


def list_links(saga: Saga, keys: Mapping[str, str]) -> list[Link]:
    """Return the links of a saga by its business keys, in order of registration.

    A page that the project does not serve gives none.
    """
    found: list[Link] = []
    for name, resolvers in _resolvers.items():
        if name not in keys:
            continue
        for resolver in resolvers:
            try:
                found.extend(resolver(saga, keys[name]))
            except NoReverseMatch:
                continue
    return found


def resolve_links(found: Iterable[Link], site: str) -> list[Link]:
    """Return links with their addresses on an admin site, without those whose page the site does not have."""
    resolved = (
        replace(link, url=find_url(site, link.page, *link.args, query=link.query), page="", query={}, args=())
        if link.page
        else link
        for link in found
    )
    return [link for link in resolved if link.url]
