"""Workers on RabbitMQ: a test of ``tests/end_to_end`` again."""

from tests.end_to_end import test_killed_workers as killed_workers
from tests.end_to_end.shops import Shop
from tests.end_to_end.stops.points import Marks, Moment
from tests.end_to_end.test_parallel_groups import (
    samples,
    test_steps_run_where_their_queue_is_served_and_groups_side_by_side,
)

__all__ = ["samples", "test_steps_run_where_their_queue_is_served_and_groups_side_by_side"]


def test_killed_worker_is_replaced_by_another_one(quiet_shop: Shop, marks: Marks) -> None:
    killed_workers.test_killed_worker_is_replaced_by_another_one(quiet_shop, marks, Moment.AFTER)
