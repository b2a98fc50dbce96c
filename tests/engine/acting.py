"""Operators, and an operation with every argument it needs."""

from typing import Any

from django.contrib.auth.models import Permission, User

from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.preconditions import Operation

from .world import EVIDENCE, OPERATOR, REASON

BOSS = Actor(name="boss", is_trusted=True)
COLLEAGUE = Actor(name="colleague", is_trusted=True)
RETRY, COMPENSATE, SKIP, SUCCEEDED, REFUSED, COMPENSATED, PAUSE, RESUME, CANCEL, ABANDON = Operation
NEEDS_STEP = {SKIP, SUCCEEDED, REFUSED, COMPENSATED}
NEEDS_EVIDENCE = NEEDS_STEP - {SKIP}


def perform(operation: Operation, saga: Saga, step: str, **more: Any) -> operations.OperationResult:
    """Perform an operation with every argument it needs."""
    arguments: dict[str, Any] = {"actor": OPERATOR, "reason": REASON, **more}
    if operation in NEEDS_STEP:
        arguments.setdefault("step", step)
    if operation in NEEDS_EVIDENCE:
        arguments.setdefault("evidence", EVIDENCE)
    return operations.perform_operation(operation, saga.pk, **arguments)


def make_user(*codenames: str, name: str = "ada") -> User:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)
