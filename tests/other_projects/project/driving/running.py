"""Sagas of the other project: started, run, and compared with the data they leave."""

import threading
import time
from io import StringIO

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse
from ferries.models import Crossing, Deal, Ferry
from ferries.sagas import CareInput, CareSaga
from ferries.views import ENGINE_DATABASE, TooLate, book, book_and_fail, book_crossing

from sagas.engine import advance
from sagas.engine.advance import start
from sagas.models import Saga, SagaStep
from sagas.operators.actor import Actor
from sagas.operators.operations import retry_now

from .feats import feat

PATIENCE_SECONDS = 60.0
SWEEPS_SECONDS = 5.0  # sweeps that have not finished by then never will
OPERATOR = Actor(name="the driver", is_trusted=True)
REASON = "The other side works again."
SIDE_BY_SIDE, THREADS = 2, 4


def call(command, *arguments, **options):
    """Run a management command.

    Returns: what it printed.
    """
    printed = StringIO()
    call_command(command, *arguments, stdout=printed, stderr=StringIO(), **options)
    return printed.getvalue()


def prefix():
    """Return the prefix that a front server adds to every path."""
    return settings.FORCE_SCRIPT_NAME or getattr(settings, "SERVER_PREFIX", "") or ""


def find(saga_id):
    return Saga.objects.using(ENGINE_DATABASE).get(pk=saga_id)


def post(view, **values):
    """Post to a page of the project as a customer."""
    return Client(SCRIPT_NAME=prefix()).post(reverse(view).removeprefix(prefix()), values)


def place(trouble=""):
    """Book a crossing over HTTP.

    Returns: the id of its saga and the crossing.
    """
    answer = post(book, trouble=trouble)
    assert answer.status_code == 201, answer.content
    return answer.json()["saga"], Crossing.objects.get(pk=answer.json()["crossing"])


def has_worker():
    """Return whether wake-ups reach a worker."""
    is_eager = getattr(settings, "CELERY_TASK_ALWAYS_EAGER", False)
    return settings.SAGAS["WAKEUP"] == "celery" and not is_eager


def settle(*saga_ids, until=lambda saga: saga.closed_at is not None):
    """Run sagas until the condition holds for each: by a sweep, or by the worker that receives wake-ups.

    Returns: their states.
    """
    give_up_at = time.monotonic() + (PATIENCE_SECONDS if has_worker() else SWEEPS_SECONDS)
    is_late = False
    while not is_late:
        if not has_worker():
            call("saga_sweep", run=True)
        if all(until(find(saga_id)) for saga_id in saga_ids):
            break
        # Repeatedly, because a bulk pauses between two sagas.
        time.sleep(0.05)
        is_late = time.monotonic() > give_up_at
    return [find(saga_id).state for saga_id in saga_ids]


def waits(saga):
    """Return whether a saga waits an hour for the port or for the bank."""
    slow = SagaStep.objects.using(ENGINE_DATABASE).filter(saga_id=saga.pk, name__in=("reserve_berth", "pay"))
    return slow.filter(waiting_for__isnull=False).exists()


def cure(crossing):
    """Make the other side of a crossing work again."""
    Crossing.objects.filter(pk=crossing.pk).update(trouble="")


def look_at(crossing):
    """Return the data a crossing has left."""
    found = Crossing.objects.select_related("ferry").get(pk=crossing.pk)
    return {"status": found.status, "free": found.ferry.free_places, "cars": found.cars_on_board, "meals": found.meals}


def count_deals(saga_id):
    """Return the open deals of a saga at port and bank."""
    return Deal.objects.filter(key__startswith=str(saga_id), is_open=True).count()


@feat
def book_from_view():
    """Start a saga in a view."""
    saga_id, _ = place()
    return find(saga_id).definition


@feat
def fail_after_starting():
    """Start a saga in a view that then fails."""
    before = Saga.objects.using(ENGINE_DATABASE).count()
    try:
        post(book_and_fail)
    except TooLate:
        return Saga.objects.using(ENGINE_DATABASE).count() - before
    raise AssertionError("The view did not fail.")


@feat
def complete():
    """Complete a saga."""
    saga_id, crossing = place()
    return [*settle(saga_id), look_at(crossing), count_deals(saga_id)]


@feat
def compensate():
    """Let the pivot refuse."""
    saga_id, crossing = place("declined")
    return [*settle(saga_id), look_at(crossing), count_deals(saga_id)]


@feat
def wait_and_wake():
    """Let a step be in progress, then wake it."""
    saga_id, crossing = place("port")
    before = settle(saga_id, until=waits)
    cure(crossing)
    retry_now(find(saga_id).pk, actor=OPERATOR, reason=REASON)
    return [*before, *settle(saga_id), look_at(crossing)["status"]]


@feat
def start_from_function():
    """Start a saga outside of a request."""
    saga, crossing = book_crossing()
    return [*settle(saga.pk), look_at(crossing)["status"]]


@feat
def run_eagerly():
    """Book over HTTP where wake-ups run eagerly: the response comes when the saga is closed."""
    return [find(place(trouble)[0]).state for trouble in ("", "declined")]


@feat
def run_side_by_side():
    """Run groups of local steps in several threads at once.

    If transactions conflict, attempts may be repeated, but must not count.
    Returns: how the sagas ended, the most attempts counted for a step, and errors that escaped from the engine.
    """
    ferries = [Ferry.objects.create(free_places=9) for _ in range(SIDE_BY_SIDE)]
    started = [start(CareSaga, CareInput(ferry=ferry.pk)).pk for ferry in ferries]
    gate, escaped = threading.Barrier(THREADS), set()

    def advance_all():
        try:
            gate.wait(PATIENCE_SECONDS)
            give_up_at = time.monotonic() + PATIENCE_SECONDS
            while any(find(pk).closed_at is None for pk in started) and time.monotonic() < give_up_at:
                for pk in started:
                    try:
                        advance.advance(pk)
                    except Exception as error:  # noqa: BLE001 - nothing may escape
                        escaped.add(f"{type(error).__name__}: {error}")
                time.sleep(0.02)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=advance_all) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE_SECONDS)
    ends = sorted(find(pk).state for pk in started)
    budgets = SagaStep.objects.using(ENGINE_DATABASE).filter(saga_id__in=started).values_list("budget_used", flat=True)
    return [ends, max(budgets), sorted(escaped)]
