"""Generator of databases with years of sagas; not part of the engine's wheel. Install it with ``EXTRA_APPS``."""
