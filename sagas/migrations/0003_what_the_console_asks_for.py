import django.db.models.expressions
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0002_history_is_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="SagaFigure",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("data", models.JSONField(default=dict)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="saga",
            name="seal",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Keyed digest of what people did to it.", max_length=60
            ),
        ),
        migrations.AddField(
            model_name="saga",
            name="seal_count",
            field=models.PositiveIntegerField(db_default=0, default=0, help_text="How many of its entries are sealed."),
        ),
        migrations.AddField(
            model_name="saga",
            name="touched_at",
            field=models.DateTimeField(blank=True, help_text="When a person acted on it last.", null=True),
        ),
        migrations.AddField(
            model_name="saga",
            name="most_attempts",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="The most attempts that a step has had in one direction."
            ),
        ),
        migrations.AddField(
            model_name="sagaattempt",
            name="error_group",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Which failures it is one of; empty: none.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="sagahistory",
            name="seal",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Keyed digest of an entry that names an actor.",
                max_length=60,
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                condition=models.Q(("closed_at__isnull", False)),
                fields=["state", "-closed_at"],
                name="saga_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                condition=models.Q(("most_attempts__gte", 2)),
                fields=["most_attempts", "-created_at"],
                name="saga_many_attempts",
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                condition=models.Q(("touched_at__isnull", False)), fields=["-created_at", "-id"], name="saga_touched"
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                condition=models.Q(("touched_at__isnull", False)), fields=["-touched_at"], name="saga_touched_when"
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                models.OrderBy(
                    django.db.models.expressions.CombinedExpression(models.F("closed_at"), "-", models.F("created_at")),
                    descending=True,
                ),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("closed_at__isnull", False)),
                name="saga_slowest",
            ),
        ),
        migrations.AddIndex(
            model_name="sagaattempt",
            index=models.Index(
                condition=models.Q(("error_group", ""), _negated=True),
                fields=["started_at"],
                name="saga_attempt_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="sagaattempt",
            index=models.Index(
                condition=models.Q(("error_group", ""), _negated=True),
                fields=["error_group", "started_at"],
                name="saga_attempt_group",
            ),
        ),
        migrations.AddIndex(
            model_name="sagahistory",
            index=models.Index(
                condition=models.Q(("what", "operator_acted")), fields=["-at", "-id"], name="saga_history_deeds"
            ),
        ),
        migrations.AddIndex(
            model_name="sagahistory",
            index=models.Index(
                condition=models.Q(("what", "operator_acted")),
                fields=["actor", "-at", "-id"],
                name="saga_history_deeds_of",
            ),
        ),
        migrations.AddIndex(
            model_name="sagahistory",
            index=models.Index(
                condition=models.Q(("what", "operator_acted")),
                fields=["to_state", "-at", "-id"],
                name="saga_history_deed",
            ),
        ),
    ]
