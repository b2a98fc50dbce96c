"""Tables with many rows, to see the query planner's choices."""

from django.db import connection


def fill_tables(count: int) -> None:
    """Write closed sagas with two steps, two attempts and a few failures, and analyze the tables."""
    statements = (
        """INSERT INTO sagas_saga (id, definition, version, digest, state, attention, input, revision, history_count,
           abort_actor, abort_reason, started_by, traceparent, queue, created_at, updated_at, closed_at, most_attempts,
           cause)
           SELECT gen_random_uuid(), 'trip', 3, '', CASE WHEN mod(n, 50) = 0 THEN 'compensated' ELSE 'completed' END,
           '[]', '{}', 1, 1, '', '', '', '', '', now() - n * interval '1 minute', now(),
           now() - n * interval '1 minute' + mod(n, 97) * interval '1 second',
           CASE WHEN mod(n, 20) = 0 THEN 3 ELSE 1 END, '{}' FROM generate_series(1, %s) AS n""",
        """INSERT INTO sagas_sagastep (saga_id, name, position, rank, kind, state, action_attempts,
           compensation_attempts, budget_used, epoch, is_assumed, last_error)
           SELECT id, 'step' || n, n, n, 'compensatable', 'succeeded', 1, 0, 0, 0, false, ''
           FROM sagas_saga, generate_series(0, 1) AS n WHERE closed_at IS NOT NULL""",
        """INSERT INTO sagas_sagaattempt (saga_id, step_id, direction, number, epoch, lease_token, worker, started_at,
           deadline_at, ended_at, outcome, effect, settles, is_assumed, error_class, message, traceback, error_group)
           SELECT s.id, t.id, 'action', 1, 0, gen_random_uuid(), '', s.created_at, now(), now(), 'retry', 'none', false,
           false, 'X', 'y', '', CASE WHEN s.most_attempts > 1 THEN lpad(mod(t.id, 40)::text, 16, '0') ELSE '' END
           FROM sagas_saga AS s JOIN sagas_sagastep AS t ON t.saga_id = s.id WHERE closed_at IS NOT NULL""",
        """INSERT INTO sagas_sagahistory (saga_id, number, at, what, step, from_state, to_state, actor, reason, data)
           SELECT id, 1, created_at, 'saga_started', '', '', '', 'customer', '', '{}' FROM sagas_saga""",
        "ANALYZE sagas_saga, sagas_sagastep, sagas_sagaattempt, sagas_sagahistory",
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, [count] if "%s" in statement else None)
