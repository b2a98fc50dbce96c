"""Lead from a saga to the pages of what it is about. The engine knows no participant, so they register themselves.

::

    # orders/admin.py
    def link_order(saga: Saga, number: str) -> Iterable[Link]:
        yield Link(label=f"Order {number}", url=reverse("admin:orders_order_changelist") + f"?q={number}")

    links.register("order", link_order)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.urls import NoReverseMatch

from ..models import Saga


@dataclass(frozen=True, kw_only=True)
class Link:
    """Lead somewhere."""

    label: str
    """What to read."""
    url: str
    """Where it leads."""


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
