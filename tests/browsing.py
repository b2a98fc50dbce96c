"""HTTP client for pages and APIs, with only the standard library."""

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.cookiejar import CookieJar

TIMEOUT_SECONDS = 60.0
FORM_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass
class Browser:
    """Visitor with its own cookie jar, or with a token."""

    url: str
    token: str = ""
    jar: CookieJar = field(default_factory=CookieJar)

    def get(self, path: str) -> int:
        """Return the status of a page."""
        return self.ask(path)[0]

    def log_in(self, username: str, password: str) -> None:
        """Log in to the admin by its form."""
        path = "/admin/login/"
        _, page = self.ask(path)
        [token] = FORM_TOKEN.findall(page)
        form = {"csrfmiddlewaretoken": token, "username": username, "password": password, "next": "/admin/"}
        status, _ = self.ask(path, urllib.parse.urlencode(form).encode())
        if status != 200 or "sessionid" not in {cookie.name for cookie in self.jar}:
            raise AssertionError(f"Logging in to the admin as {username} answered {status}.")

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, str]:
        """Return the status and the text of a page, after redirects."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )
        request = urllib.request.Request(self.url + path, data=body, headers=headers)  # noqa: S310 (a server of ours)
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
