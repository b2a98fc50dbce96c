"""Answers that a participant may give to one call, and their effects.

They have only the protection that ``writing-a-saga`` demands against a second effect of repeated and late calls.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .rows import Hand, Model, Site, State


class Reply(NamedTuple):
    """One possible answer to a call."""

    answer: str
    site: Site
    stock: int
    note: str = ""
    is_fault: bool = False


def call(model: Model, state: State, hand: Hand) -> Iterator[Reply]:
    """Yield every possible answer to this call."""
    site, stock = state.sites[hand.step], state.stock
    spec = model.steps[hand.step]
    yield Reply("retry", site, stock, note="is away, nothing happened", is_fault=True)
    if spec.place == "provider":
        replies = _ask_provider(model, state, hand)
    elif spec.place == "own" and "barrier" in model.rules:
        replies = _pass_barrier(model, state, hand)
    else:
        replies = _run(model, state, hand)
    for reply in replies:
        yield reply
        if spec.place != "engine" and reply.answer == "succeeded":
            yield reply._replace(answer="unknown", note=f"{reply.note}, the answer is lost", is_fault=True)


def key_of(model: Model, hand: Hand) -> str:
    """Return the key of the call."""
    if hand.direction == "compensation":
        return f"compensate {hand.epoch if 'epoch' in model.rules else 0}"
    return "key" if "stable key" in model.rules else f"key {hand.token}"


def _run(model: Model, state: State, hand: Hand) -> Iterator[Reply]:
    """Run the function; a repeat has a second effect, and a local compensation undoes again, too."""
    site, stock = state.sites[hand.step], state.stock
    spec = model.steps[hand.step]
    taken = 1 if spec.takes_stock else 0
    if hand.direction == "compensation":
        if site.standing or spec.place != "provider":
            done = site._replace(standing=site.standing - 1, undid=site.undid + 1)
            yield Reply("succeeded", done, stock + taken, note="undoes it")
        else:
            yield Reply("succeeded", site, stock, note="finds nothing to undo")
        if model.operations:
            yield Reply("refused", site, stock, note="refuses to undo it", is_fault=True)
        return
    seen = stock if hand.stock is None else hand.stock
    if seen >= taken:
        done = site._replace(standing=site.standing + 1, did=site.did + 1)
        yield Reply("succeeded", done, seen - taken, note="does it")
    if seen < taken or spec.can_refuse:
        yield Reply("refused", site, stock, note="refuses")


def _pass_barrier(model: Model, state: State, hand: Hand) -> Iterator[Reply]:
    """Run the function behind the barrier rows, which commit with it."""
    site, key = state.sites[hand.step], key_of(model, hand)
    known = dict(site.answers)
    is_undone = any(other.startswith("compensate") for other in known)
    if hand.direction == "action":
        is_fenced = known.get("key") == "fenced" or is_undone
        if is_fenced or "key" in known:
            yield Reply("fenced" if is_fenced else "succeeded", site, state.stock, note="meets the barrier")
            return
    elif key in known or (is_undone and "one undo" in model.rules):
        yield Reply("succeeded", site, state.stock, note="meets the barrier")
        return
    elif known.get("key", "fenced") == "fenced":
        closed = _store(_store(site, "key", "fenced"), key, "succeeded")
        yield Reply("succeeded", closed, state.stock, note="leaves a tombstone")
        return
    for reply in _run(model, state, hand):
        is_done = reply.answer == "succeeded"
        yield reply._replace(site=_store(reply.site, key, "succeeded")) if is_done else reply


def _ask_provider(model: Model, state: State, hand: Hand) -> Iterator[Reply]:
    """Call a provider that stores its answer under the key of each request, except refusals."""
    site, stock = state.sites[hand.step], state.stock
    key = key_of(model, hand)
    known = dict(site.answers).get(key)
    is_repeat = known is not None and (known == "fenced" or "first answer" in model.rules)
    money = [index for index, spec in enumerate(model.steps) if spec.place == "provider" and index != hand.step]
    pivots = [index for index in money if model.steps[index].kind == "pivot"]
    if known is not None and is_repeat:
        yield Reply(
            known, site, stock, note="repeats its first answer" if known != "fenced" else "finds its key closed"
        )
    elif model.steps[hand.step].kind == "pivot" and money and not any(state.sites[index].standing for index in money):
        yield Reply("misconfigured", site, stock, note="has no money held to capture")
    elif hand.direction == "compensation" and any(state.sites[index].standing for index in pivots):
        yield Reply("refused", site, stock, note="does not void what is captured")
    elif hand.direction == "compensation" and model.looks_twice and not site.standing:
        yield Reply("succeeded", site, stock, note="shows nothing to undo")
    else:
        for reply in _run(model, state, hand):
            answered = _store(reply.site, key, "succeeded") if reply.answer == "succeeded" else reply.site
            if hand.direction == "compensation" and reply.answer == "succeeded" and _closes(model, site):
                answered = _store(answered, "key", "fenced")
            yield reply._replace(site=answered)


def _closes(model: Model, site: Site) -> bool:
    return model.can_close_keys and "closed key" in model.rules and not dict(site.answers).get("key")


def _store(site: Site, key: str, answer: str) -> Site:
    return site._replace(answers=tuple(sorted({**dict(site.answers), key: answer}.items())))
