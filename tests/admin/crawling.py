"""Crawler: follows every link of the console and collects those that leave it."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from django.test import Client

FOLLOWED, SENT_TO = ("href", "data-url", "data-search"), ("action", "formaction")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d+")
MAX_PAGES = 250


class Reader(HTMLParser):
    """Links and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def list_addresses(self, *names: str) -> list[str]:
        """Return the addresses in these attributes, without those of style sheets, scripts and images."""
        return [
            value
            for tag, attrs in self.elements
            for name, value in attrs.items()
            if name in names and value and not value.startswith("#") and tag not in ("link", "script", "use", "img")
        ]


def kind_of(url: str) -> str:
    """Return what kind of page an address is of: ids and values of the query do not matter."""
    split = urlsplit(url)
    query = parse_qsl(split.query, keep_blank_values=True)
    names = sorted({f"tab={value}" if name == "tab" else name for name, value in query})
    return f"{ID.sub('*', split.path)}?{','.join(names)}"


def crawl(client: Client, start: str, **extra: Any) -> dict[str, tuple[int, set[str]]]:
    """Get one page of every kind that can be reached below ``start``, and record where it links to.

    Returns: by address the status, and where links, forms, redirects and the script of the page lead.
    """
    found: dict[str, tuple[int, set[str]]] = {}
    seen, queue = {kind_of(start)}, [start]
    while queue and len(found) < MAX_PAGES:
        url = queue.pop(0)
        response = client.get(url, **extra)
        reader = Reader(read_html(response))
        targets = {urljoin(url, address) for address in reader.list_addresses(*FOLLOWED)}
        if "Location" in response:
            targets.add(urljoin(url, response["Location"]))
        sent_to = {urljoin(url, address) for address in reader.list_addresses(*SENT_TO)}
        found[url] = (response.status_code, targets | sent_to)
        for target in sorted(targets):
            address = target.partition("#")[0]
            # Filters combine without end; one at a time shows each of them.
            if kind_of(address) not in seen and "," not in kind_of(address) and address.startswith(start):
                seen.add(kind_of(address))
                queue.append(address)
    return found


def read_html(response: Any) -> str:
    """Return the HTML of a response: a page, or the parts of one in JSON."""
    kind = response.get("Content-Type", "")
    if kind.startswith("application/json") and "Content-Disposition" not in response:
        return "".join(response.json().get("parts", {}).values())
    return str(response.content.decode()) if kind.startswith("text/html") else ""


def strays(found: dict[str, tuple[int, set[str]]], prefix: str, home: str = "/") -> set[tuple[str, str]]:
    """Return which pages link outside ``prefix``, and where. ``home``: where "View site" leads."""
    return {
        (kind_of(url), target)
        for url, (_, targets) in found.items()
        for target in targets
        if not target.startswith(prefix) and target != home
    }
