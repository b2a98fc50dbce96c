"""Mail server URL: converted into the settings of the installed Django."""

from typing import Any

import environ
import pytest

from config.mailers import describe_mail_server

SMTP = "django.core.mail.backends.smtp.EmailBackend"
FILES = "django.core.mail.backends.filebased.EmailBackend"
CONSOLE = "django.core.mail.backends.console.EmailBackend"


@pytest.mark.parametrize(
    ("url", "backend", "options"),
    [
        (
            "smtp+tls://ada:word@mail.example:587",
            SMTP,
            {"host": "mail.example", "port": 587, "username": "ada", "password": "word", "use_tls": True},
        ),
        ("smtp+ssl://mail.example", SMTP, {"host": "mail.example", "use_ssl": True}),
        ("filemail:////srv/mails", FILES, {"file_path": "/srv/mails"}),
        ("consolemail://", CONSOLE, {}),
    ],
)
def test_mail_server_is_a_mailer_since_django_6_1(url: str, backend: str, options: dict[str, Any]) -> None:
    read = environ.Env.email_url_config(url)

    assert describe_mail_server(read, version=(6, 1)) == {
        "MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}
    }
    assert describe_mail_server(read, version=(6, 0)) == read
    assert describe_mail_server(read, version=(5, 2))["EMAIL_BACKEND"] == backend
