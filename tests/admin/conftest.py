"""Fixtures: users of every role, and a browser that is logged in."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

GROUPS = {"viewer": "Saga viewers", "operator": "Saga operators", "supervisor": "Saga supervisors"}


@pytest.fixture
def log_in(db: None) -> Callable[..., Client]:
    """Return a function that logs a user in: of a group, ``admin``, ``staff`` without rights, or ``anonymous``."""

    def enter(name: str, **options: bool) -> Client:
        client = Client(**options)
        if name == "anonymous":
            return client
        user = User.objects.filter(username=name).first()
        if user is None:
            user = User.objects.create_user(name, is_staff=True, is_superuser=name == "admin")
            if name in GROUPS:
                user.groups.add(Group.objects.get(name=GROUPS[name]))
        client.force_login(user)
        return client

    return enter
