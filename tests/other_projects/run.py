"""One setting by hand: ``python -m tests.other_projects.run NAME [FEAT ...]``, with its own servers.

Prints the result of each feature next to the expected one, and commands for further steps while it waits.
"""

import argparse
import json
import shlex
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from config.local.postgres import start_throwaway_postgres
from config.local.valkey import start_valkey
from tests.packaging.environments import build_wheel, make_environment

from .settings_table import BY_NAME
from .testbed import open_testbed

# What a project installs besides the engine, by its database driver.
BESIDE = {
    "psycopg": ("psycopg[binary,pool]", "celery[redis]", "gevent", "django-unfold"),
    "psycopg2": ("psycopg2-binary", "celery[redis]"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one setting.

    Returns: 0 if everything was as expected.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.other_projects.run", description=__doc__)
    parser.add_argument("name", choices=sorted(BY_NAME), metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("feats", nargs="*", help="only these")
    parser.add_argument("--wait", action="store_true", help="keep servers and databases until Enter is pressed")
    options = parser.parse_args(arguments)
    setting = BY_NAME[options.name]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("source", "wheel"):
            (home / name).mkdir()
        wheel = build_wheel(home / "source", home / "wheel")
        python = make_environment(home / setting.driver, wheel, *BESIDE[setting.driver])
        postgres = start_throwaway_postgres()
        stack.callback(postgres.process.stop)
        pythons = {"psycopg": python, setting.driver: python}
        testbed = stack.enter_context(open_testbed(home / "project", pythons, postgres.url_of("postgres")))
        databases = stack.enter_context(testbed.databases(setting))
        broker_url = ""
        if setting.worker:
            broker = start_valkey()
            stack.callback(broker.process.stop)
            broker_url = broker.url
            worker = testbed.start_worker(setting, databases, broker_url, home / "worker.log")
            stack.callback(worker.stop)
        feats = options.feats or setting.expected or ["complaints"]
        found = testbed.drive(setting, databases, *feats, broker_url=broker_url)
        for name, result in found.items():
            mark = "ok" if setting.expected.get(name) == result else "--"
            sys.stdout.write(f"{mark} {name}: {json.dumps(result)}\n")
        if options.wait:
            given = testbed.environment(setting, databases, broker_url)
            shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items() if "FOREIGN" in name)
            sys.stdout.write(f"cd {testbed.directory} && {shown} {python} drive.py\n")
            sys.stdin.readline()
        return 0 if found == dict(setting.expected) else 1


if __name__ == "__main__":
    sys.exit(main())
