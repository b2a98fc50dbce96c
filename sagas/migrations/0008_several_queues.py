"""Add the queues of what else is due in a group, as an array of PostgreSQL; 0010 turns it into JSON.

The type is named here and not by ``django.contrib.postgres``, which a project need not install.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


class QueueArray(models.Field):  # type: ignore[type-arg] - subscripting it needs stubs at run time
    """The column as it was until 0010."""

    def db_type(self, connection: Any) -> str:
        """Return the type that the column had."""
        return "varchar(60)[]"


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0007_seal_every_start"),
    ]

    operations = [
        migrations.AddField(
            model_name="saga",
            name="other_queues",
            field=QueueArray(
                blank=True,
                db_default=[],
                default=list,
                help_text="Queues of what else is due or waits, in a group.",
            ),
        ),
    ]
