"""Note from when on every start of a saga is sealed; the tables stay as they are."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sagas", "0006_looks")]

    operations = [
        migrations.AlterField(
            model_name="sagahistory",
            name="seal",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Keyed digest of the first entry and of people's.",
                max_length=60,
            ),
        ),
    ]
