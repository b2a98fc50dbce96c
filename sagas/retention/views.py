"""Deletion of saved views that no user sees any more: own ones whose owner's account is deleted.

Shared views stay, because others use them; each user who may share can delete them.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router

from ..conf import get_settings
from ..models import SagaView

PAGE = 500  # owners at once


def delete_ownerless_views() -> int:
    """Delete the own views of deleted accounts.

    Returns: how many views.
    """
    return sum(
        SagaView.objects.using(get_settings().database).filter(is_shared=False, owner_id__in=gone).delete()[0]
        for gone in _iterate_gone()
    )


def count_ownerless_views() -> int:
    """Return how many views ``delete_ownerless_views`` would delete now."""
    views = SagaView.objects.using(get_settings().database).filter(is_shared=False)
    return sum(views.filter(owner_id__in=gone).count() for gone in _iterate_gone())


def _iterate_gone() -> Iterator[list[str]]:
    """Yield pages of owners whose accounts do not exist, by their ids as text."""
    views = SagaView.objects.using(get_settings().database).filter(is_shared=False)
    owners = sorted(set(views.values_list("owner_id", flat=True)))
    for start in range(0, len(owners), PAGE):
        page = owners[start : start + PAGE]
        if gone := sorted(set(page) - _find_existing(page)):
            yield gone


def _find_existing(owners: list[str]) -> set[str]:
    """Return those of these ids that accounts have, in the database where accounts are written."""
    model = get_user_model()
    ids = [found for owner in owners if (found := _read_key(owner)) is not None]
    accounts = model._base_manager.using(router.db_for_write(model)).filter(pk__in=ids)
    return {str(pk) for pk in accounts.values_list("pk", flat=True)}


def _read_key(owner: str) -> Any:
    """Return the primary key that a text stands for, or None for one that no account can have."""
    try:
        return get_user_model()._meta.pk.to_python(owner)
    except ValidationError:
        return None
