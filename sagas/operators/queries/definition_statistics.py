"""Statistics of each definition and version, in SQL: its sagas, its durations, and how its steps went."""

MAX_VERSIONS = 200  # each costs one lookup
# Newest attempts that rates are computed from: each costs two lookups by id.
MAX_ATTEMPTS = 10_000

COUNT_STORED = """(
    WITH RECURSIVE pairs AS (
        (SELECT definition, version FROM sagas_saga ORDER BY definition, version LIMIT 1)
        UNION ALL
        SELECT found.definition, found.version FROM pairs CROSS JOIN LATERAL (
            SELECT definition, version FROM sagas_saga
            WHERE (definition, version) > (pairs.definition, pairs.version) ORDER BY definition, version LIMIT 1
        ) AS found
    ), stored AS (
        SELECT definition, version FROM pairs LIMIT {max_versions}
    ), opened AS (
        SELECT definition, version, digest, count(*) AS sagas FROM sagas_saga WHERE closed_at IS NULL GROUP BY 1, 2, 3
    )
    SELECT jsonb_build_object(
        'stored', (SELECT coalesce(jsonb_agg(stored), '[]') FROM stored),
        'opened', (SELECT coalesce(jsonb_agg(opened), '[]') FROM opened)
    )
)"""
COUNT_LATELY = """(
    WITH lately AS (
        SELECT definition, version, state, extract(epoch FROM closed_at - created_at) AS seconds FROM sagas_saga
        WHERE closed_at >= {now} - {length} ORDER BY closed_at DESC LIMIT {max_durations}
    ), closed AS (
        SELECT definition, version, count(*) AS sagas, count(*) FILTER (WHERE state = 'completed') AS completed,
            count(*) FILTER (WHERE state = 'compensated') AS compensated,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS seconds
        FROM lately GROUP BY 1, 2
    ), tried AS MATERIALIZED (
        SELECT saga_id, step_id, direction, outcome, error_group, is_assumed FROM sagas_sagaattempt
        WHERE started_at >= {now} - {length} ORDER BY started_at DESC LIMIT {max_attempts}
    ), steps AS (
        SELECT saga.definition, saga.version, step.name AS step, direction, count(*) AS attempts,
            count(*) FILTER (WHERE outcome = 'refused') AS refusals,
            count(*) FILTER (WHERE error_group <> '' AND outcome <> 'refused') AS failures
        -- Without the limits, the planner may read the whole tables.
        FROM tried CROSS JOIN LATERAL (
            SELECT definition, version FROM sagas_saga WHERE id = tried.saga_id LIMIT 1
        ) AS saga CROSS JOIN LATERAL (SELECT name FROM sagas_sagastep WHERE id = tried.step_id LIMIT 1) AS step
        WHERE outcome IS NOT NULL AND NOT is_assumed GROUP BY 1, 2, 3, 4
    )
    SELECT jsonb_build_object(
        'closed', (SELECT coalesce(jsonb_agg(closed), '[]') FROM closed),
        'steps', (SELECT coalesce(jsonb_agg(steps), '[]') FROM steps),
        'closed_is_capped', (SELECT count(*) >= {max_durations} FROM lately),
        'attempts_are_capped', (SELECT count(*) >= {max_attempts} FROM tried)
    )
)"""


def compile_stored() -> str:
    """Return the expression that lists the versions of stored sagas, and counts the open ones by digest."""
    return COUNT_STORED.format(max_versions=MAX_VERSIONS)


def compile_lately(*, now: str, length: str, max_durations: int) -> str:
    """Return the expression that counts ends and attempts of each version in a time window that ends now."""
    return COUNT_LATELY.format(now=now, length=length, max_durations=max_durations, max_attempts=MAX_ATTEMPTS)
