"""Booking views."""

from django.conf import settings
from django.db import transaction
from django.http import JsonResponse

from sagas.engine.advance import start

from .models import Crossing, Ferry
from .sagas import CrossingInput, CrossingSaga

ENGINE_DATABASE = settings.SAGAS.get("DATABASE", "default")


class TooLate(Exception):
    """Failure of the view after it started the saga."""


def book_crossing(trouble="", places=2):
    """Create a crossing and start its saga.

    Returns: the saga and the crossing.
    """
    ferry = Ferry.objects.create(free_places=9)
    crossing = Crossing.objects.create(ferry=ferry, places=places, trouble=trouble)
    with transaction.atomic(using=ENGINE_DATABASE):
        given = CrossingInput(crossing=crossing.pk, note="window seat")
        return start(CrossingSaga, given, business_keys={"crossing": str(crossing.pk)}), crossing


def book(request):
    saga, crossing = book_crossing(request.POST.get("trouble", ""))
    return JsonResponse({"saga": str(saga.pk), "crossing": crossing.pk}, status=201)


def book_and_fail(request):
    with transaction.atomic(using=ENGINE_DATABASE):
        book_crossing()
        raise TooLate
