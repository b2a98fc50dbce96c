"""Statistics as counted last, so that no page counts a million rows."""

from django.db import models

from .base import EngineModel
from .fields import MomentField


class SagaStatistic(EngineModel):
    """One set of statistics, counted by a sweep; see ``sagas.operators.queries.statistics``."""

    name = models.CharField(primary_key=True, max_length=20)
    data = models.JSONField(default=dict)
    computed_at = MomentField()
    seconds = models.FloatField(default=0.0, db_default=0.0, help_text="How long counting took.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
