"""The acceptance test, on RabbitMQ: a checkout of each kind, from the REST endpoint to the last row.

The tests are those of ``tests/end_to_end``, collected here a second time; what differs are the fixtures that they get.
"""

from tests.depth import IS_FULL
from tests.end_to_end.test_checkouts import (
    test_checkout_ends_as_its_kind_must,
    test_failing_void_shows_as_needing_a_person_and_ends_after_clear_and_retry,
    test_last_kettle_is_sold_once,
    test_repeated_request_places_one_order,
)

__all__ = [
    "test_checkout_ends_as_its_kind_must",
    "test_failing_void_shows_as_needing_a_person_and_ends_after_clear_and_retry",
    "test_last_kettle_is_sold_once",
    "test_repeated_request_places_one_order",
]

if IS_FULL:  # one saga that waits for an operator shows what a broker can change about it
    from tests.end_to_end.test_checkouts import (
        test_unknown_capture_waits_for_a_person_who_says_that_it_happened,
        test_unknown_capture_wrongly_marked_as_refused_still_waits_for_a_person,
    )

    __all__ += [
        "test_unknown_capture_waits_for_a_person_who_says_that_it_happened",
        "test_unknown_capture_wrongly_marked_as_refused_still_waits_for_a_person",
    ]
