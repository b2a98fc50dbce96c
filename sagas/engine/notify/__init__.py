"""Messages of the engine after a commit: wake-ups for workers, alerts for operators."""
