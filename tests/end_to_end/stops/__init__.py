"""App that stops a worker at a named place of a named step, so that a test can harm it exactly there."""
