"""Keep who saw payloads, append-only like history."""

from __future__ import annotations

from django.db import migrations, models

CREATE = """
CREATE TRIGGER sagas_look_is_append_only BEFORE UPDATE OR DELETE ON sagas_sagalook
    FOR EACH ROW EXECUTE FUNCTION sagas_refuse_history_change();
"""
DROP = "DROP TRIGGER sagas_look_is_append_only ON sagas_sagalook;"


class Migration(migrations.Migration):
    dependencies = [("sagas", "0005_note_how_long_counting_took")]

    operations = [
        migrations.CreateModel(
            name="SagaLook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(help_text="Who looked.", max_length=200)),
                (
                    "what",
                    models.CharField(help_text="At what; see sagas.operators.audit.access_log.What.", max_length=20),
                ),
                ("saga_id", models.UUIDField(blank=True, help_text="NULL: at many, see the detail.", null=True)),
                (
                    "detail",
                    models.CharField(
                        blank=True, default="", help_text="Which part of it, or which sagas.", max_length=300
                    ),
                ),
            ],
            options={
                "verbose_name": "look at payloads",
                "verbose_name_plural": "looks at payloads",
                "ordering": ("-at", "-id"),
                "indexes": [
                    models.Index(fields=["-at", "-id"], name="saga_look_newest"),
                    models.Index(fields=["saga_id", "-at"], name="saga_look_saga"),
                    models.Index(fields=["actor", "-at"], name="saga_look_actor"),
                ],
            },
        ),
        migrations.RunSQL(CREATE, DROP, hints={"model_name": "sagalook"}),
    ]
