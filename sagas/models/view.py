"""Saved views of the list of sagas."""

from django.db import models
from django.db.models import Q

from ..core.visible import show_invisible
from .base import EngineModel
from .fields import MomentField

MAX_NAME_CHARS = 60


class SagaView(EngineModel):
    """Filter of the list that a user keeps by name. The owner is stored by value; accounts may be elsewhere."""

    owner = models.CharField(max_length=200, help_text="Name of the user who saved it.")
    owner_id = models.CharField(max_length=64, help_text="Primary key of that account, as text.")
    name = models.CharField(max_length=MAX_NAME_CHARS)
    query = models.TextField(help_text="The filter, as SagaFilter writes it, encoded as the query of a URL.")
    is_shared = models.BooleanField(default=False, help_text="Whether every user who may view sagas sees it.")
    created_at = MomentField()

    class Meta:
        ordering = ("name", "id")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["owner_id", "name"], name="saga_view_once_per_owner"),
            models.UniqueConstraint(fields=["name"], condition=Q(is_shared=True), name="saga_view_shared_once"),
        )

    def __str__(self) -> str:
        return show_invisible(self.name)
