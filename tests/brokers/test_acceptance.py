"""Acceptance tests on RabbitMQ: a checkout of each kind, from the REST endpoint to the last row.

The tests are those of ``tests/end_to_end``, collected here a second time; what differs are the fixtures that they get.
"""

from tests.depth import IS_FULL
from tests.end_to_end.test_checkouts import (
    test_checkout_of_each_kind_ends_as_expected,
    test_failing_void_needs_attention_and_ends_after_clear_and_retry,
    test_last_kettle_is_sold_once,
    test_repeated_request_places_one_order,
)

__all__ = [
    "test_checkout_of_each_kind_ends_as_expected",
    "test_failing_void_needs_attention_and_ends_after_clear_and_retry",
    "test_last_kettle_is_sold_once",
    "test_repeated_request_places_one_order",
]

if IS_FULL:  # a broker affects one saga that waits for an operator as it does any other
    from tests.end_to_end.test_checkouts import (
        test_unknown_capture_waits_for_an_operator_who_confirms_it,
        test_unknown_capture_wrongly_marked_as_refused_still_waits_for_an_operator,
    )

    __all__ += [
        "test_unknown_capture_waits_for_an_operator_who_confirms_it",
        "test_unknown_capture_wrongly_marked_as_refused_still_waits_for_an_operator",
    ]
