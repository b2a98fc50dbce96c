"""Changes of the engine's rows: each function is one write of the engine to a locked saga.

The counterparts in ``sagas`` are ``claim``, ``step_transitions``, ``saga_transitions``, ``late_answers`` and
``operation_changes``.
"""

from . import decisions
from .decisions import StepMove, effect_of
from .rows import FORWARD, UNDOABLE, Attempt, Hand, Model, Saga, Spec, Step, change_step, is_stale

OVER = ("succeeded", "refused", "compensated")
DEFINITE_ALREADY = ("succeeded", "refused", "retry", "fenced", "misconfigured")


def settle(model: Model, saga: Saga) -> Saga:
    """Grant or drop an abort request, close a finished saga, and store whether it is due again."""
    if saga.state in ("completed", "compensated", "abandoned"):
        return saga._replace(is_due=False)
    while True:
        plan = decisions.plan(model, saga)
        if plan.decision == "turn back":
            saga = turn_back(saga)
        elif plan.decision == "drop abort":
            saga = _decide(saga)._replace(abort="")
        elif plan.decision:
            return _close(saga, "completed" if plan.decision == "complete" else "compensated")
        else:
            return saga._replace(is_due=plan.is_due)


def claim(model: Model, saga: Saga, index: int, direction: str) -> tuple[Saga, Hand]:
    """Take the lease and write the attempt."""
    step = saga.steps[index]
    is_turning = direction == "compensation" and step.state != "compensating"
    token = len(step.attempts)
    claimed = step._replace(
        state="running" if direction == "action" else "compensating",
        is_due=False,
        token=token,
        used=1 if is_turning else min(step.used + 1, model.attempts),
        attempts=(*step.attempts, Attempt(direction, step.epoch)),
    )
    saga = change_step(saga, index, lambda _: claimed)
    if saga.state == "pending":
        saga = _decide(saga)._replace(state="running")
    return saga, Hand(step=index, direction=direction, token=token, epoch=step.epoch)


def record(model: Model, saga: Saga, hand: Hand) -> Saga:
    """Record the result of a live attempt, or keep that of a stale one as a late answer."""
    if is_stale(saga, hand) and "token" in model.rules:
        return _keep_evidence(model, saga, hand)
    saga = change_step(saga, hand.step, lambda step: _close_attempt(model, step, hand)._replace(token=None))
    if saga.steps[hand.step].epoch != hand.epoch:
        # Its effect came before the late effect that the new epoch is for.
        return settle(model, change_step(saga, hand.step, lambda step: step._replace(is_due=True)))
    return settle(model, _apply(model, saga, hand))


def lose_lease(model: Model, saga: Saga, index: int) -> Saga:
    """Close the attempt of a lost worker."""
    step = saga.steps[index]
    attempt = step.attempts[step.token or 0]
    is_rolled_back = model.steps[index].place == "engine"
    outcome = "retry" if is_rolled_back or "attempt row" not in model.rules else "unknown"
    lost = Hand(step=index, direction=attempt.direction, token=step.token, epoch=attempt.epoch, answer=outcome)
    return record(model, saga, lost)


def pass_deadline(model: Model, saga: Saga) -> Saga:
    """Record that the deadline has passed."""
    if saga.state in FORWARD and not saga.abort and not decisions.is_pivot_passed(model, saga):
        saga = _decide(saga)._replace(abort="deadline")
    return settle(model, saga)


def turn_back(saga: Saga) -> Saga:
    """Start compensating: waits end, and holds of steps are cleared."""
    steps = tuple(step._replace(hold="", is_due=False) for step in saga.steps)
    return _decide(saga)._replace(state="compensating", abort="", steps=steps)


def operate(model: Model, saga: Saga, operation: str, index: int) -> Saga | None:
    """Perform an operation of an operator.

    Returns: None when it is refused.
    """
    if saga.state not in (*FORWARD, "compensating"):
        return None
    step, spec = saga.steps[index], model.steps[index]
    if operation.startswith("mark"):
        return _mark(model, saga, operation, index)
    changed: Saga | None = None
    if operation == "force compensate" and saga.state in FORWARD and decisions.is_pivot_open(model, saga):
        changed = turn_back(saga)
    elif operation == "cancel" and saga.state in FORWARD and not decisions.is_pivot_passed(model, saga):
        changed = _cancel(model, saga) if saga.abort != "cancel" else None
    elif operation == "retry" and _can_be_retried(saga, spec, step):
        changed = change_step(saga, index, _ask_again)
    elif operation == "pause" and not saga.hold:
        changed = saga._replace(hold="paused")
    elif operation == "resume" and saga.hold == "paused":
        changed = saga._replace(hold="")
    elif operation == "abandon" and all(row.token is None for row in saga.steps):
        left = tuple(place for place, row in enumerate(saga.steps) if effect_of(row) in UNDOABLE)
        changed = _close(saga, "abandoned")._replace(left=left)
    elif operation == "skip" and saga.state in FORWARD and spec.kind != "pivot" and _can_be_skipped(step):
        changed = change_step(saga, index, lambda row: row._replace(state="skipped", hold="", is_due=False))
    return settle(model, _decide(changed)) if changed else None


def _decide(saga: Saga) -> Saga:
    return saga._replace(revision=saga.revision + 1)


def _close(saga: Saga, state: str) -> Saga:
    steps = tuple(step._replace(hold="", is_due=False) for step in saga.steps)
    return _decide(saga)._replace(state=state, hold="", abort="", is_due=False, steps=steps)


def _close_attempt(model: Model, step: Step, hand: Hand) -> Step:
    attempts = list(step.attempts)
    place = hand.token or 0
    settles = hand.answer == "refused" and _settles(model, hand.step)
    attempts[place] = attempts[place]._replace(outcome=hand.answer, settles=settles)
    is_seen = model.looks_twice and hand.direction == "action" and hand.answer == "succeeded"
    return step._replace(attempts=tuple(attempts), seen=len(attempts) if is_seen else step.seen)


def _settles(model: Model, index: int) -> bool:
    """Return whether a refusal answers for earlier attempts: where a lost one can never commit."""
    place = model.steps[index].place
    return place == "engine" or ("own refusal" if place == "own" else "refusal") not in model.rules


def _apply(model: Model, saga: Saga, hand: Hand) -> Saga:
    """Change the step and, if needed, the saga; ``hand`` may be a late answer or an operator's mark."""
    step, kind = saga.steps[hand.step], model.steps[hand.step].kind
    if hand.direction == "action":
        effect = "yes" if hand.answer == "succeeded" else effect_of(step)
        move = decisions.after_action(model, kind, hand.answer, effect, step.used >= model.attempts, saga.state)
    else:
        move = decisions.after_compensation(hand.answer, _must_verify(model, step, hand))
    saga = change_step(saga, hand.step, lambda row: _move(row, move))
    if move.hold or move.state in OVER:
        saga = _decide(saga)
    if move.turns_back and saga.state in FORWARD and "turn back at once" in model.rules:
        saga = turn_back(saga)
    return saga


def _must_verify(model: Model, step: Step, hand: Hand) -> bool:
    """Return whether a compensation must verify: no effect was known when it began."""
    if not model.looks_twice or hand.token is None or "second look" not in model.rules:
        return False
    if step.seen:
        return hand.token < step.seen
    done = Attempt("compensation", step.epoch, "succeeded")
    return not any(attempt == done for place, attempt in enumerate(step.attempts) if place != hand.token)


def _move(step: Step, move: StepMove) -> Step:
    return step._replace(state=move.state, hold=move.hold, is_due=move.is_due)


def _keep_evidence(model: Model, saga: Saga, hand: Hand) -> Saga:
    step = saga.steps[hand.step]
    is_definite = step.attempts[hand.token or 0].outcome in DEFINITE_ALREADY and "definite" in model.rules
    if is_definite or hand.answer == "unknown":
        return saga
    saga = change_step(saga, hand.step, lambda row: _close_attempt(model, row, hand))
    has_effect = hand.answer == "succeeded"
    if hand.direction == "compensation":
        is_open = step.state == "compensating" and step.token is None and step.epoch == hand.epoch
        return settle(model, _settle_step(model, saga, hand)) if is_open and has_effect else saga
    if saga.state in FORWARD:
        is_open = step.state in ("waiting", "unknown") and "late answer" in model.rules
        saga = _settle_step(model, saga, hand) if is_open and hand.answer in ("succeeded", "refused") else saga
    elif saga.state == "abandoned" and has_effect:
        saga = saga._replace(left=tuple(sorted({*saga.left, hand.step})))
    elif has_effect and saga.state in ("compensating", "compensated"):
        saga = _reopen(model, saga, hand.step)
    return settle(model, saga)


def _settle_step(model: Model, saga: Saga, hand: Hand) -> Saga:
    saga = _decide(saga) if saga.steps[hand.step].hold else saga
    return _apply(model, saga, hand)


def _reopen(model: Model, saga: Saga, index: int) -> Saga:
    """Compensate again a step that had an effect after all."""
    step = saga.steps[index]
    if model.steps[index].kind == "pivot" and "late pivot" in model.rules:
        saga = _decide(change_step(saga, index, lambda row: row._replace(hold="contract_violation")))
    elif step.state == "compensated" and "late effect" in model.rules:
        again = step._replace(state="compensating", epoch=step.epoch + 1, used=0, is_due=True)
        saga = _decide(change_step(saga, index, lambda _: again))
    elif step.state == "compensating" and "late epoch" in model.rules:
        saga = _decide(change_step(saga, index, lambda row: row._replace(epoch=row.epoch + 1)))
    if saga.state == "compensated" and "late effect" in model.rules:
        saga = _decide(saga)._replace(state="compensating")
    return saga


def _cancel(model: Model, saga: Saga) -> Saga:
    steps = tuple(
        row if spec.kind == "pivot" and row.state != "waiting" else row._replace(hold="")
        for spec, row in zip(model.steps, saga.steps, strict=True)
    )
    return saga._replace(abort="cancel", steps=steps)


def _can_be_retried(saga: Saga, spec: Spec, step: Step) -> bool:
    if step.token is not None or (spec.kind == "pivot" and step.state == "refused"):
        return False
    states = ("compensating",) if saga.state == "compensating" else ("waiting", "unknown")
    return bool(step.hold) or step.state in states


def _ask_again(step: Step) -> Step:
    state = "waiting" if step.state == "refused" else step.state
    return step._replace(state=state, hold="", is_due=state in ("waiting", "unknown", "compensating"), used=0)


def _can_be_skipped(step: Step) -> bool:
    is_refused = step.state == "refused" and step.hold == "contract_violation"
    return step.state == "pending" or is_refused or (step.state == "waiting" and effect_of(step) == "none")


def _mark(model: Model, saga: Saga, operation: str, index: int) -> Saga | None:
    """Store an operator's mark as an attempt of its own."""
    if not _can_be_marked(model, saga, operation, index):
        return None
    step = saga.steps[index]
    direction = "compensation" if operation == "mark compensated" else "action"
    outcome = "refused" if operation == "mark refused" else "succeeded"
    word = Attempt(direction, step.epoch, outcome, settles=True, is_assumed=True)
    saga = change_step(saga, index, lambda row: row._replace(hold="", attempts=(*row.attempts, word)))
    said = Hand(step=index, direction=direction, token=None, epoch=step.epoch, answer=outcome)
    return settle(model, _decide(_apply(model, saga, said)))


def _can_be_marked(model: Model, saga: Saga, operation: str, index: int) -> bool:
    step, kind = saga.steps[index], model.steps[index].kind
    if step.token is not None:
        return False
    if operation == "mark compensated":
        return step.state == "compensating" and (bool(step.hold) or step.used >= model.attempts)
    if operation == "mark succeeded" and kind == "pivot" and saga.state not in FORWARD:
        return False
    if operation == "mark refused" and kind == "retriable" and step.state == "refused":
        return False
    return step.state == "unknown" or (bool(step.hold) and step.state in ("waiting", "refused"))
