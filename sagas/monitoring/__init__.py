"""Assessment of the whole installation: checks, doctor, metrics, liveness."""
