"""Ordinary settings of a project that runs sagas, with one named variation.

Environment: FOREIGN_DATABASES, a JSON object with the parameters of each alias; FOREIGN_SETTING, the name of a function
in ``harbour.variations``; CELERY_BROKER_URL, where a worker takes part.
"""

import json
import os

from . import variations

SECRET_KEY = "only-for-this-test"
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
ROOT_URLCONF = "harbour.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# As the doctor recommends: a lost client or a slow query cannot hold locks forever.
LIMITS = "-c statement_timeout=30s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s"
DATABASES = {
    alias: {"ENGINE": "django.db.backends.postgresql", **parameters, "OPTIONS": {"options": LIMITS}}
    for alias, parameters in json.loads(os.environ["FOREIGN_DATABASES"]).items()
}

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1

# Short, because the driver waits. Leases outlast any delay of a busy machine.
SAGAS = {"WAKEUP": "none"}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_fsm",
    "sagas",
    "ferries",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# The admin site that operators use.
CONSOLE_SITE = "admin"

variations.apply(os.environ.get("FOREIGN_SETTING", "default"), globals())
