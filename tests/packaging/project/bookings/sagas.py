"""Booking saga: two compensatable local steps, and the pivot."""

from dataclasses import dataclass

from sagas import Compensatable, Pivot, SagaDefinition, StepContext

from .models import Booking

MOST_SEATS = 4


class TooManySeats(Exception):
    """Refusal: more seats than available."""


@dataclass(frozen=True)
class BookingInput:
    """Booking."""

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
    """Saga that holds seats and pays."""

    place_booking = Compensatable(compensation=drop_seats)
    hold_seats = Compensatable(hold_seats, drop_seats)
    pay = Pivot(pay, refuses_on=[TooManySeats])

    class Meta:
        name = "booking"
        version = 1
        input = BookingInput
