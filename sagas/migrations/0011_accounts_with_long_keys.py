"""Make room for the keys of accounts that are texts; a longer column rewrites no row."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0010_queues_without_arrays"),
    ]

    operations = [
        migrations.AlterField(
            model_name="sagabulk",
            name="account",
            field=models.CharField(
                blank=True, default="", help_text="Key of the account that is asked.", max_length=255
            ),
        ),
    ]
