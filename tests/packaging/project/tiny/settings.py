"""Settings of a new project, with the two apps that the engine needs."""

import json
import os

SECRET_KEY = "only-for-this-test"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "tiny.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **json.loads(os.environ["TINY_DATABASE"])}}
STATIC_URL = "static/"
CELERY_BROKER_URL = "memory://"
CELERY_TASK_IGNORE_RESULT = True

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "bookings"]
MIDDLEWARE = []

if not os.environ.get("TINY_WITHOUT_ADMIN"):
    INSTALLED_APPS += [
        "django.contrib.admin",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ]
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]

INSTALLED_APPS += ["django_fsm", "sagas"]

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

if url := os.environ.get("TINY_EVENTS_URL"):
    SAGAS = {"EVENTS": {"URL": url}}
