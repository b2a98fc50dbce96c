"""Mail server settings in the form that the installed Django expects."""

from typing import Any

import django

MAILERS_SINCE = (6, 1)
OPTIONS_OF_SMTP = {
    "host": "EMAIL_HOST", "port": "EMAIL_PORT", "username": "EMAIL_HOST_USER", "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS", "use_ssl": "EMAIL_USE_SSL",
}  # fmt: skip
OPTIONS_OF_FILES = {"file_path": "EMAIL_FILE_PATH"}


def describe_mail_server(given: dict[str, Any], *, version: tuple[int, ...] = django.VERSION[:2]) -> dict[str, Any]:
    """Return the settings of a mail server: one for each property, or since Django 6.1 a single ``MAILERS``.

    ``given``: the result of ``env.email_url``, which is ``EMAIL_BACKEND`` and the properties.
    """
    if version < MAILERS_SINCE:
        return given
    backend = given["EMAIL_BACKEND"]
    names = {"smtp": OPTIONS_OF_SMTP, "filebased": OPTIONS_OF_FILES}.get(backend.split(".")[-2], {})
    options = {option: given[name] for option, name in names.items() if given.get(name) not in (None, "")}
    return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
