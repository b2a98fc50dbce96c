"""Table of the configured user model."""

import uuid
from typing import Any

from django.db import migrations, models


def list_shared() -> list[tuple[str, Any]]:
    """Return the columns of both user models."""
    beside = {"blank": True, "related_name": "user_set", "related_query_name": "user"}
    return [
        ("password", models.CharField(max_length=128)),
        ("last_login", models.DateTimeField(blank=True, null=True)),
        ("is_superuser", models.BooleanField(default=False)),
        ("is_staff", models.BooleanField(default=False)),
        ("groups", models.ManyToManyField(to="auth.group", **beside)),
        ("user_permissions", models.ManyToManyField(to="auth.permission", **beside)),
    ]


class Migration(migrations.Migration):
    initial = True
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        migrations.CreateModel(
            name="Person",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("is_active", models.BooleanField(default=True)),
                *list_shared(),
            ],
            options={"swappable": "AUTH_USER_MODEL"},
        ),
        migrations.CreateModel(
            name="Member",
            fields=[
                ("email", models.CharField(max_length=254, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(unique=True)),
                *list_shared(),
            ],
            options={"swappable": "AUTH_USER_MODEL"},
        ),
    ]
