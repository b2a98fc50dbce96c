"""Run one command with a private, empty PostgreSQL in its environment: ``python -m config.local.run -- command …``."""

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack

from .postgres import start_throwaway_postgres
from .valkey import start_valkey


def main(arguments: list[str] | None = None) -> int:
    """Start the servers that the environment does not name, run the command, and stop them.

    Returns: the exit code of the command.
    """
    parser = argparse.ArgumentParser(prog="python -m config.local.run", description=__doc__)
    parser.add_argument("--valkey", action="store_true", help="also start a Valkey")
    parser.add_argument("command", nargs="+", help="the command, after --")
    options = parser.parse_args(arguments)
    environment = {"SECRET_KEY": "only-for-this-command", **os.environ}
    with ExitStack() as stack:
        if "DATABASE_URL" not in environment:
            postgres = start_throwaway_postgres()
            stack.callback(postgres.process.stop)
            environment["DATABASE_URL"] = postgres.create_database("sagas")
        if options.valkey and "CELERY_BROKER_URL" not in environment:
            valkey = start_valkey()
            stack.callback(valkey.process.stop)
            environment["CELERY_BROKER_URL"] = valkey.url
        return subprocess.run(options.command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
