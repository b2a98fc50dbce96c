"""Leave out what tests an optional package that is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("stripe") else ["test_stripe_gateway.py"]
