"""Links from a saga to pages of its business objects. The engine knows no participant, so apps register resolvers.

::

    # orders/admin.py
    def link_order(saga: Saga, number: str) -> Iterable[Link]:
        yield Link(label=f"Order {number}", page="orders_order_changelist", query={"q": number})

    links.register("order", link_order)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.urls import NoReverseMatch

from ..models import Saga
from .ui.addresses import find_url


@dataclass(frozen=True, kw_only=True)
class Link:
    """Link to a page of the admin, or to any other URL.

    Raises: ValueError when both are given.
    """

    label: str
    """Text of the link."""
    url: str = ""
    """URL, if the target is not a page of the admin."""
    page: str = ""
    """Name of an admin page, such as ``orders_order_changelist``. It is resolved on the current admin site; the link is
    left out where that site does not have the page."""
    args: tuple[Any, ...] = ()
    """URL arguments of the page, such as the id of an object."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters of the page."""

    def __post_init__(self) -> None:
        if self.url and self.page:
            raise ValueError(f"The link {self.label!r} has both url and page; give only one of them.")


Resolver = Callable[[Saga, str], Iterable[Link]]

_resolvers: dict[str, list[Resolver]] = {}


def register(key_name: str, resolver: Resolver) -> None:
    """Register a resolver that makes links from business keys of this name; registering it again changes nothing."""
    known = _resolvers.setdefault(key_name, [])
    if resolver not in known:
        known.append(resolver)


def unregister(key_name: str, resolver: Resolver) -> None:
    """Remove a resolver; an unknown one is no error."""
    if resolver in _resolvers.get(key_name, []):
        _resolvers[key_name].remove(resolver)


def list_links(saga: Saga, keys: Mapping[str, str]) -> list[Link]:
    """Return the links of a saga by its business keys, in order of registration.

    A resolver that raises ``NoReverseMatch`` is skipped.
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
    """Return links with their URLs on an admin site, without those whose page the site lacks."""
    resolved = (
        replace(link, url=find_url(site, link.page, *link.args, query=link.query), page="", query={}, args=())
        if link.page
        else link
        for link in found
    )
    return [link for link in resolved if link.url]
