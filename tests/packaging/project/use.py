"""Use of the installed engine by a project's own code; prints its findings as JSON."""

import importlib.util
import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tiny.settings")
django.setup()

from bookings.models import Booking  # noqa: E402
from bookings.sagas import BookingInput, BookingSaga  # noqa: E402
from django.db import transaction  # noqa: E402
from tiny.celery import app  # noqa: E402

import sagas  # noqa: E402
from sagas.conf import get_settings  # noqa: E402
from sagas.engine.advance import start  # noqa: E402


def book(seats: int) -> str:
    """Place a booking and start its saga in one transaction."""
    with transaction.atomic():
        booking = Booking.objects.create(seats=seats)
        saga = start(BookingSaga, BookingInput(booking=booking.pk), business_keys={"booking": str(booking.pk)})
    return str(saga.pk)


def read_pages() -> dict[str, int]:
    """Open the admin's list of sagas, each saga's page, and their style sheets."""
    from django.contrib.auth import get_user_model
    from django.contrib.staticfiles import finders
    from django.test import Client

    from sagas.models import Saga

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    pages = ["/admin/sagas/saga/", *(f"/admin/sagas/saga/{saga.pk}/change/" for saga in Saga.objects.all())]
    found = {page: client.get(page).status_code for page in pages}
    return {**found, "console.css": 200 if finders.find("sagas/console.css") else 404}


def describe_installation() -> dict[str, object]:
    """Return where the engine is imported from, and what else is importable."""
    absent = ("prometheus_client", "rest_framework", "environ", "structlog", "orders", "config", "redis")
    app.loader.import_default_modules()
    return {
        "engine": sagas.__file__,
        "present": [name for name in absent if importlib.util.find_spec(name)],
        "has_task": "sagas.advance" in app.tasks,
        "queue_of_steps": get_settings().common_queue,
        "queues_of_a_plain_worker": list(app.amqp.queues.consume_from),
    }


if __name__ == "__main__":
    answers = {"book": lambda: [book(2), book(9)], "pages": read_pages, "installation": describe_installation}
    sys.stdout.write(json.dumps(answers[sys.argv[1]]()))
