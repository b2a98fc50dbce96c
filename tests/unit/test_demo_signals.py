"""Stop signals of the demo."""

import subprocess
import sys

from config.local.runtime import ROOT

SIGNALLED_IN_A_CALLBACK = """
import signal, time, weakref
from examples.demo.run import Stopped, handle_stop_signals

class Thing: pass

handle_stop_signals()
thing = Thing()
reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
try:
    del thing
    time.sleep(60)
except Stopped as stopped:
    print(f"stopped by {stopped.args[0]}")
"""


def test_stop_signal_that_python_could_not_raise_is_raised_again() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED_IN_A_CALLBACK],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (ended.stdout, ended.stderr) == ("stopped by 15\n", "")
