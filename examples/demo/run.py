"""Run the whole shop on this machine: ``python -m examples.demo.run`` (``--smoke`` checks that it works, and ends)."""

import argparse
import fcntl
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from config.local.children import ServerDidNotStart
from config.local.runtime import VAR

from .shop import RunningShop, start_shop

DEFAULT_PORT = 8000
SUPERVISION_SECONDS = 0.5
# In the directory of the logs: a line for each saga of the gallery.
LEFT_BEHIND = "left-behind.txt"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
RAISE_AGAIN_SECONDS = 0.05


class Stopped(BaseException):
    """A stop signal, raised by its handler and caught in the main function."""


class DemoCannotRun(Exception):
    """The demo cannot run here and now; the message has the reason and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Start the shop, show its checkouts, and stay up until stopped.

    Returns: 0 if all went as expected, 128 plus the signal's number after a stop signal, 1 otherwise.
    """
    options = parse_arguments(arguments)
    handle_stop_signals()
    watch_starter(os.getppid())
    try:
        with ExitStack() as stack:
            stack.enter_context(hold_lock())
            port = choose_port(options.port, is_free_choice=options.smoke)
            shop = stack.enter_context(start_shop(port, read_secret_key()))
            has_failed = show_checkouts(shop, with_transcripts=options.transcripts)
            if options.smoke:
                return int(has_failed)
            print_directions(shop)
            with suppress(Stopped):
                stay_up(shop, prepare_gallery(shop, is_shown=options.transcripts))
    except Stopped as stopped:
        return 128 + int(stopped.args[0])
    except (DemoCannotRun, ServerDidNotStart) as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line; PORT and TRANSCRIPTS may come from the environment."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.run", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="stop after the checkouts; exit 1 on an unexpected end")
    parser.add_argument(
        "--transcripts",
        action="store_true",
        default=os.environ.get("TRANSCRIPTS", "") not in {"", "0"},
        help="print the transcript of each checkout, and a line for each saga left in the console",
    )
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or None, help="default 8000; 0: a free one")
    return parser.parse_args(arguments)


def handle_stop_signals() -> None:
    """Raise Stopped on a stop signal, and once more if Python could only print it.

    Python drops what a signal handler raises while a finalizer or a weak reference's callback runs.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, leave)
    report = sys.unraisablehook

    def raise_again(unraisable: Any) -> None:
        stopped = unraisable.exc_value
        if isinstance(stopped, Stopped):
            signal.signal(signal.SIGALRM, lambda _, frame: leave(stopped.args[0], frame))
            signal.setitimer(signal.ITIMER_REAL, RAISE_AGAIN_SECONDS)
        else:
            report(unraisable)

    sys.unraisablehook = raise_again


def leave(number: int, _frame: FrameType | None) -> None:
    """Raise Stopped in the main thread and ignore further signals; the open contexts stop what was started."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)
    raise Stopped(number)


def watch_starter(starter: int) -> None:
    """Stop this process by SIGTERM as soon as its starter has ended."""
    main_thread = threading.get_ident()

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(SUPERVISION_SECONDS)
        # To the thread, not to the process: another one could get it, and the main thread would keep waiting.
        signal.pthread_kill(main_thread, signal.SIGTERM)

    threading.Thread(target=watch, name="watch-starter", daemon=True).start()


@contextmanager
def hold_lock() -> Iterator[None]:
    """Ensure that this is the checkout's only running demo, because demos share one data directory.

    Raises: DemoCannotRun.
    """
    VAR.mkdir(exist_ok=True)
    path = VAR / "demo.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoCannotRun(
                "A demo of this checkout is already running. Stop it with Ctrl-C in its terminal."
            ) from error
        yield


def choose_port(asked: int | None, *, is_free_choice: bool) -> int:
    """Choose the web server's port.

    Raises: DemoCannotRun if the requested or the default port is taken.
    """
    if asked == 0 or (asked is None and is_free_choice):
        asked = 0
    port = DEFAULT_PORT if asked is None else asked
    with socket.socket() as probe:
        # A server can use a port that an earlier run used a moment ago.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OverflowError as error:
            raise DemoCannotRun(f"Port {port} is invalid. Choose one from 1 to 65535.") from error
        except OSError as error:
            raise DemoCannotRun(
                f"Port {port} of 127.0.0.1 is not available ({error.strerror}). Choose another one: make demo PORT=8001"
            ) from error
        return int(probe.getsockname()[1])


def read_secret_key() -> str:
    """Return the demo's SECRET_KEY, created once, so that a browser's login survives a restart."""
    path = VAR / "secret_key"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()


def show_checkouts(shop: RunningShop, *, with_transcripts: bool) -> bool:
    """Place one checkout of each kind and print a line for each as it ends.

    Returns: whether any of them ended other than expected.
    """
    # Django must be set up before the shop's models are imported.
    from .report import place_and_show

    return place_and_show(shop.client, shop.supervise, with_transcripts=with_transcripts)


def print_directions(shop: RunningShop) -> None:
    """Print the URLs of the shop and its accounts."""
    url = shop.client.url
    directions = f"""
The shop runs at {url}/ until Ctrl-C, which stops everything that the demo started.
  Console   {url}/admin/sagas/  log in as operator, supervisor, viewer or admin; the password is the name
  REST API  {url}/api/docs/     its documentation; log in as customer, password customer
  Probes    {url}/readyz        {url}/metrics; logs: {VAR / "log"}
  Commands  .venv/bin/python manage.py saga_list   in another terminal, on the same data
"""
    # A file or a pipe would buffer it until the end.
    print(directions.rstrip(), flush=True)


def prepare_gallery(shop: RunningShop, *, is_shown: bool) -> Callable[[], None]:
    """Return the function that, called repeatedly, creates a saga of each interesting kind."""
    from .gallery import Gallery

    log = VAR / "log" / LEFT_BEHIND
    log.unlink(missing_ok=True)

    def report(line: str) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n")
        if is_shown:
            print(line, flush=True)

    def report_end() -> None:
        print(
            f"The console now shows sagas with every kind of problem: see docs/how-to/demo.md and {log}.",
            flush=True,
        )

    return Gallery(client=shop.client, say=report, end=report_end).go_on


def stay_up(shop: RunningShop, go_on: Callable[[], None]) -> NoReturn:
    """Keep the shop running until ``Stopped`` ends it."""
    while True:
        shop.supervise()
        go_on()
        time.sleep(SUPERVISION_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
