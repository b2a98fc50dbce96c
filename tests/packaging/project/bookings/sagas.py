"""Declare the booking: two local steps that can be undone, and the pivot."""

from dataclasses import dataclass

from sagas import Compensatable, Pivot, SagaDefinition, StepContext

from .models import Booking

MOST_SEATS = 4


class TooManySeats(Exception):
    """Refuse a booking for more seats than there are."""


@dataclass(frozen=True)
class BookingInput:
    """Name the booking."""

    booking: int


Step = StepContext[BookingInput]


def hold_seats(step: Step) -> dict:
    booking = Booking.objects.get(pk=step.input.booking)
    Booking.objects.filter(pk=booking.pk).update(held=booking.seats)
    return {"held": booking.seats}


def drop_seats(step: Step) -> None:
    Booking.objects.filter(pk=step.input.booking).update(held=0)


def pay(step: Step) -> None:
    if step.results["hold_seats"]["held"] > MOST_SEATS:
        raise TooManySeats(f"There are {MOST_SEATS} seats.")
    Booking.objects.filter(pk=step.input.booking).update(is_paid=True)


class BookingSaga(SagaDefinition):
    """Hold seats and pay, or do neither."""

    place_booking = Compensatable(compensation=drop_seats)
    hold_seats = Compensatable(hold_seats, drop_seats)
    pay = Pivot(pay, refuses_on=[TooManySeats])

    class Meta:
        name = "booking"
        version = 1
        input = BookingInput
