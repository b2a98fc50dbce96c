"""Rules that guard the protocol; the model can run without any one of them.

A rule missing from ``Model.rules`` is not kept. ``test_protocol`` removes each one and expects a violation.
"""

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "token": "A record, and the commit of a local step, needs the lease token that the step has now.",
    "attempt row": "The claim writes the attempt before anything runs, so that a lost worker leaves an unknown behind.",
    "maybe": "A step that may have happened is compensated like one that did.",
    "wait for live": "The first compensation waits until the last live attempt has ended or its lease has.",
    "live lease": "A step with a live lease is not claimed.",
    "reverse order": "A step is compensated after everything behind it.",
    "fresh claim": "A claim is decided in the write that takes the lease, with nothing read before it.",
    "lock": "A write locks the saga row before it reads the steps.",
    "guarded write": "A write goes through only if the rows are as they were read.",
    "turn back at once": "The write that records the first definite failure makes the saga compensate.",
    "pivot held": "A pivot of unknown outcome is held for a person when its budget is spent or it is refused.",
    "abort waits": "An abort request is remembered while the pivot is live or unknown.",
    "one commit": "A local step in the engine's database commits together with its record, or not at all.",
    "refusal": "A refusal of a provider settles a step only if no earlier attempt is unsettled.",
    "own refusal": "So does one that was rolled back in a database of its own: an earlier worker may still come.",
    "definite": "A definite outcome of an attempt is never changed.",
    "late answer": "A late success of a step that waits or is unknown makes it succeeded.",
    "late effect": "A late success after the compensation reopens it.",
    "second look": "A compensation that began before a late success came counts only after another look.",
    "late epoch": "A late success while the step compensates makes it compensate once more.",
    "late pivot": "A late success of a pivot that a person had ruled out is held for a person.",
    "epoch": "The key of a compensation tells how often it was reopened.",
    "revision": "A person's decision counts only on the revision it was made on.",
    "same attempts": "A person's word on a step counts only while its attempts are as the person saw them.",
    "sweep": "What is due is found without any message.",
    "barrier": "A participant with a database of its own keeps a row for each step key and direction.",
    "one undo": "The barrier lets no second compensation of a local step through, whatever its epoch.",
    "closed key": "A void closes the key of its authorisation at the provider.",
    "stable key": "All attempts of a step carry one key.",
    "first answer": "A provider answers a repeated key with its first answer.",
    "conditional stock": "Stock is taken by one conditional update, not read first and written later.",
}
ALL_RULES = frozenset(RULES)
FOUND_RULES = frozenset({"late epoch", "one undo", "same attempts"})
"""Rules that the engine lacked until the model asked for them. Only the models that need one keep it, so that the
others show what holds without."""
CORE_RULES = ALL_RULES - FOUND_RULES
