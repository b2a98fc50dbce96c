"""Report of a run: its faults, results and statistics."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .testbed import LEASE_SECONDS, PATIENT_ENGINE, RECOVERY_BOUND_SECONDS


@dataclass(frozen=True, kw_only=True)
class Report:
    """Statistics of one run.

    Units: seconds.
    """

    accepted: int
    """Checkouts that the shop took."""
    seconds: float
    """How long they were placed for."""
    answers: Mapping[str, int]
    """What the requests were answered, by status; ``none`` where no answer came."""
    injected: Mapping[str, int]
    """What was broken, how often."""
    ends: Mapping[str, Counter[str]]
    """How the orders of each kind ended."""
    share_confirmed: float
    """Which part of the checkouts that work was confirmed."""
    recoveries: Sequence[float]
    """How long each kill of a worker at work was felt."""
    calm_seconds: Sequence[float]
    """How long checkouts took before anything was broken."""
    first_seconds: Sequence[float]
    """How long they took while things broke, of those taken at the first request."""
    all_seconds: Sequence[float]
    """The same of all of them, with every repeat."""
    settled_seconds: float
    """How long until everything was at rest after the last fault."""
    lost_workers: int
    """Attempts that ended with their worker."""
    wrong: Sequence[str] = field(default_factory=tuple)
    """What must not be."""

    def render(self) -> str:
        """Format the report."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"Accepted {self.accepted} checkouts in {self.seconds:.0f} s."
        yield f"Answers: {write_counts(self.answers)}"
        yield f"Broken: {write_counts(self.injected)}"
        yield f"Attempts lost with their worker: {self.lost_workers}"
        yield from write_ends(self.ends)
        yield f"Confirmed of those that work: {self.share_confirmed:.1%}"
        yield f"Recovery after {len(self.recoveries)} kills of a worker at work: {write_spread(self.recoveries)}"
        yield f"  {write_bound()}"
        yield f"Checkout, nothing broken: {write_spread(self.calm_seconds)}"
        yield f"Checkout, things breaking, first request: {write_spread(self.first_seconds)}"
        yield f"Checkout, things breaking, with repeats: {write_spread(self.all_seconds)}"
        yield f"At rest {self.settled_seconds:.1f} s after the last fault."
        yield f"Wrong: {len(self.wrong)}"
        yield from (f"  {sentence}" for sentence in self.wrong)


def write_ends(ends: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Format a line for each kind, and one for all."""
    total = sum(ends.values(), Counter())
    for name, counted in sorted({**ends, "all": total}.items(), key=lambda item: item[0] == "all"):
        yield f"  {name:<28} {write_counts(counted)}"


def write_counts(counts: Mapping[str, int]) -> str:
    """Format counts on one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"


def write_spread(seconds: Sequence[float]) -> str:
    """Format the median and the tail of a distribution."""
    if not seconds:
        return "none"
    statistics = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p100": 1.0}
    return ", ".join(f"{name} {find_percentile(seconds, part) * 1000:.0f} ms" for name, part in statistics.items())


def write_bound() -> str:
    """Format the recovery bound and its parts."""
    send, sweep = PATIENT_ENGINE["WAKEUP_INTERVAL"], PATIENT_ENGINE["SWEEP_INTERVAL"]
    bound = f"R = L + I + 2S = {LEASE_SECONDS:g} + {send:g} + 2 x {sweep:g} = {RECOVERY_BOUND_SECONDS:g} s"
    return f"{bound}, and a few seconds of machine"


def find_percentile(values: Sequence[float], part: float) -> float:
    """Return a percentile as a fraction; the maximum for 1."""
    if len(values) == 1 or part >= 1:
        return max(values)
    return statistics.quantiles(sorted(values), n=1000, method="inclusive")[max(round(part * 1000) - 1, 0)]


def find_middle_p99(rounds: Sequence[Sequence[float]]) -> float:
    """Return the median of the rounds' 99th percentiles, which ignores one disturbed round."""
    return statistics.median(find_percentile(values, 0.99) for values in rounds)


def is_slower(
    calm: Sequence[Sequence[float]], beside: Sequence[Sequence[float]], *, ratio: float, slack_seconds: float
) -> bool:
    """Return whether alternating rounds beside something were slower than allowed, against those without it.

    ratio, slack_seconds: the allowance; the slack covers the machine's noise in statistics of a few milliseconds.
    """
    return find_middle_p99(beside) > ratio * find_middle_p99(calm) + slack_seconds
