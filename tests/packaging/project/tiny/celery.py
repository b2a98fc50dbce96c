"""Celery application, as in Celery's guide for Django."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tiny.settings")

app = Celery("tiny")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
