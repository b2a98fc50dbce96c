"""Databases of a size that years of work would leave; not part of the engine's wheel. Install with ``EXTRA_APPS``."""
