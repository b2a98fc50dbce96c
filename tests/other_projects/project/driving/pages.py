"""Parser of pages: links, forms, and the data a form sends."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.test import Client

from .running import prefix

FOR_MACHINES = ("id", "for", "href", "action", "value", "max", "min", "name", "data-keep", "data-url")
# With the formats of this project, which group every two digits.
PARTED = re.compile(r"(?<![\d.])\d{1,2}(\.\d{2})+(?![\d.])")
MOVES = 10  # no chain of redirects is longer


@dataclass
class Form:
    """Form of a page: its target, method and current data."""

    action: str
    method: str
    values: dict = field(default_factory=dict)
    buttons: list = field(default_factory=list)


class Page(HTMLParser):
    """Parsed response.

    forms: its forms. links: where its links lead, without fragments. progress: attributes of its bars. odd_numbers:
    attributes for machines that hold a number with separators.
    """

    def __init__(self, url, response):
        super().__init__()
        self.url, self.status = url, response.status_code
        self.text = response.getvalue().decode(errors="replace")
        if response.headers.get("Content-Type", "").startswith("application/json"):
            # Content added by scripts.
            self.text = "".join(list_texts(json.loads(self.text)))
        self.forms, self.links, self.progress, self.odd_numbers = [], [], [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.odd_numbers += [
            f"{tag} {name}={value}" for name, value in attributes if name in FOR_MACHINES and PARTED.search(value or "")
        ]
        # Scripts request the URLs in such attributes.
        self.links += [value for name, value in attributes if name.startswith("data-") and (value or "")[:1] == "/"]
        if tag == "a" and found.get("href"):
            self.links.append(urljoin(self.url, found["href"]).partition("#")[0])
        elif tag == "form":
            action = urljoin(self.url, found.get("action") or self.url)
            self.forms.append(Form(action, (found.get("method") or "get").lower()))
        elif tag == "progress":
            self.progress.append([found.get("value"), found.get("max")])
        elif self.forms:
            self._take_field(tag, found)

    def _take_field(self, tag, found):
        form, name = self.forms[-1], found.get("name")
        if tag == "button" and name:
            form.buttons.append((name, found.get("value", "")))
        elif tag == "select" and name:
            form.values[name] = ""
        elif tag in ("input", "textarea") and name and found.get("type") not in ("checkbox", "submit", "radio"):
            form.values[name] = found.get("value") or ""

    def form_with(self, name):
        """Return the form that has this value.

        Raises: AssertionError with the page's text.
        """
        for form in self.forms:
            if form.method == "post" and name in form.values:
                return form
        raise AssertionError(f"{self.url} ({self.status}) has no form with {name}: {self.read()[:600]}")

    def read(self):
        """Return the visible text."""
        content = self.text.partition('id="content')[2] or self.text
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", content)).strip()


def list_texts(value):
    """Return every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in list_texts(each)]


class Visitor:
    """User at a browser, behind a server that may add a prefix to every path."""

    def __init__(self, user):
        self.client = Client(SCRIPT_NAME=prefix())
        self.client.force_login(user)

    def get(self, url):
        return self._follow(url, self.client.get(self._path(url)))

    def submit(self, form, **values):
        """Send a form with these values, and follow redirects."""
        return self._follow(form.action, self.client.post(self._path(form.action), {**form.values, **values}))

    def _follow(self, url, response):
        for _ in range(MOVES):
            if response.status_code not in (301, 302, 303):
                return Page(url, response)
            url = urljoin(url, response["Location"])
            response = self.client.get(self._path(url))
        raise AssertionError(f"{url} leads round in circles.")

    def _path(self, url):
        """Return what the server forwards: the path without its prefix, which it passes separately."""
        parts = urlsplit(url)
        if not parts.path.startswith(f"{prefix()}/"):
            raise AssertionError(f"{url} is outside {prefix()}/, where this project is.")
        return parts.path.removeprefix(prefix()) + (f"?{parts.query}" if parts.query else "")
