"""Keep the queues of a group as JSON, so that no app of Django's for PostgreSQL needs to be installed.

A new column takes the place of the old one: adding one with a default and dropping one rewrite no row, and few sagas
name more than one queue, so that only these are written. Changing the type would rewrite the whole table.

Locks: the table of sagas, exclusively, while it is read once.
"""

from __future__ import annotations

from django.db import migrations, models

REPLACE = """
ALTER TABLE sagas_saga RENAME COLUMN other_queues TO old_queues;
ALTER TABLE sagas_saga ADD COLUMN other_queues {type} DEFAULT '{empty}' NOT NULL;
UPDATE sagas_saga SET other_queues = {converted} WHERE old_queues <> '{old_empty}';
ALTER TABLE sagas_saga DROP COLUMN old_queues;
"""
TO_JSON = REPLACE.format(type="jsonb", empty="[]", converted="to_jsonb(old_queues)", old_empty="{}")
TO_ARRAY = REPLACE.format(
    type="varchar(60)[]",
    empty="{}",
    converted="ARRAY(SELECT name FROM jsonb_array_elements_text(old_queues) WITH ORDINALITY AS q (name, n) ORDER BY n)",
    old_empty="[]",
)


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0009_find_people_in_the_log"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TO_JSON, TO_ARRAY, hints={"model_name": "saga"})],
            state_operations=[
                migrations.AlterField(
                    model_name="saga",
                    name="other_queues",
                    field=models.JSONField(
                        blank=True,
                        db_default=[],
                        default=list,
                        help_text="Queues of what else is due or waits, in a group.",
                    ),
                ),
            ],
        ),
    ]
