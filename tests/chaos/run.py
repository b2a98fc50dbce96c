"""Command line of the chaos runs: ``python -m tests.chaos.run --help``."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import django

from sagas.core.states import Coordination


def main(arguments: list[str] | None = None) -> int:
    """Run one mode.

    Returns: 0 if nothing was wrong and every bound was kept, otherwise 1.
    """
    options = parse(arguments)
    # The checks import models; each started process gets its own database settings.
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings", SECRET_KEY="only-for-chaos", DATABASE_URL="postgresql:///none"
    )
    django.setup()
    from . import modes

    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        if options.kills:
            return modes.run_kills(Path(directory), kills=options.kills, seed=options.seed)
        if options.frozen_broker:
            return modes.run_frozen_broker(Path(directory), rounds=options.rounds, checkouts=options.checkouts)
        return modes.run_chaos_mode(
            Path(directory),
            checkouts=options.checkouts,
            seconds=options.seconds,
            per_second=options.per_second,
            seed=options.seed,
            coordination=Coordination(options.coordination),
        )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    add = parser.add_argument
    add("--checkouts", type=int, default=500, help="how many to place; with --frozen-broker in each run (default: 500)")
    add("--seconds", type=float, help="place for so long at most (default: until all are placed)")
    add("--per-second", type=float, default=20.0, help="at most so many a second (default: 20)")
    add("--seed", type=int, default=1, help="of all that is chosen by chance (default: 1)")
    add("--coordination", default="orchestration", choices=[style.value for style in Coordination], help="their style")
    add("--kills", type=int, default=0, help="only kill workers at work, so often, and measure the recovery")
    add("--frozen-broker", action="store_true", help="only compare checkouts with a frozen and a working broker")
    add("--rounds", type=int, default=5, help="with --frozen-broker: how often each is measured (default: 5)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
