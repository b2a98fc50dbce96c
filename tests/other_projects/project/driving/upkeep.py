"""Maintenance commands, and the final check of all sagas that were run."""

import contextlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO

from django.conf import settings
from django.core.checks import WARNING, run_checks
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from ferries.views import ENGINE_DATABASE

from sagas.models import Saga
from sagas.testing import find_violations

from . import warned
from .feats import feat
from .running import call, has_worker, place, settle, waits

NEAR_SECONDS = 300.0


@feat
def complaints():
    """Return the messages of ``manage.py check --database``, warnings included: id, text and hint."""
    found = run_checks(databases=list(settings.DATABASES))
    return [[message.id, str(message.msg), str(message.hint)] for message in found if message.level >= WARNING]


@feat
def check():
    """Check the project and its databases."""
    return [number for number, _, _ in complaints()]


@feat
def tell_times():
    """Compare stored and displayed times with the database's clock.

    Returns: by how many hours each is wrong.
    """
    saga_id, _ = place("bank")
    settle(saga_id, until=waits)
    told = call("saga_retry", saga_id, dry_run=True, reason="To see when it is due.")
    [due] = re.findall(r"due (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", told)
    shown = datetime.strptime(due, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    with connections[ENGINE_DATABASE].cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM created_at), extract(epoch FROM due_at), extract(epoch FROM clock_timestamp())"
            " FROM sagas_saga WHERE id = %s::uuid",
            [saga_id],
        )
        created_at, due_at, now = map(float, cursor.fetchone())
    return [hours(created_at - now), hours(due_at - now - 3600), hours(shown - due_at)]


def hours(seconds):
    """Return a difference in hours, ignoring a busy machine's delay."""
    return 0 if abs(seconds) < NEAR_SECONDS else round(seconds / 3600, 2)


@feat
def sweep():
    """Sweep once more: nothing is due."""
    if has_worker():
        return "left to the worker"
    return call("saga_sweep", run=True).strip()


@feat
def doctor():
    """Run the doctor.

    Returns: its findings by name.
    """
    printed = StringIO()
    with contextlib.suppress(CommandError):  # its exit code: something needs repair
        call_command("saga_doctor", json=True, stdout=printed)
    return [finding["name"] for finding in json.loads(printed.getvalue()) if finding["level"] != "ok"]


@feat
def verify_log():
    """Verify the signatures of all operations."""
    told = json.loads(call("saga_verify_log", json=True))
    return [told["is_whole"], told["findings"]]


@feat
def find_no_violation():
    """Look for broken invariants in every saga that was run."""
    keys = Saga.objects.using(ENGINE_DATABASE).values_list("pk", flat=True)
    return [text for key in keys for text in find_violations(key)]


@feat
def leave_no_unexpected_state():
    """Count the sagas by state: none is held, failing or forgotten."""
    states = Saga.objects.using(ENGINE_DATABASE).values_list("state", "hold", "attention")
    return sorted({state for state, hold, attention in states if hold or attention})


@feat
def warn_of_nothing():
    """List deprecations of this Django or Python in the engine."""
    return warned.list_warnings()


@feat
def own_tests():
    """Run the project's own tests."""
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "--noinput"], capture_output=True, text=True, check=False, timeout=300
    )
    [ran] = re.findall(r"^Ran (\d+) tests", done.stderr, re.MULTILINE) or ["0"]
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    return [done.returncode, int(ran)]
