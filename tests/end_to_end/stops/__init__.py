"""Stop a worker at a named place of a named step, so that a test can hurt it exactly there."""
