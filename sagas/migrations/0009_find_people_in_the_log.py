"""Find what a person did in the log also where it was done in a shell, whose account stands beside the name."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0008_several_queues"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="sagahistory",
            name="saga_history_deeds_of",
        ),
        migrations.AddIndex(
            model_name="sagahistory",
            index=models.Index(
                models.Func(
                    models.F("actor"),
                    models.Value(" ("),
                    models.Value(1),
                    function="split_part",
                    output_field=models.CharField(),
                ),
                models.OrderBy(models.F("at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("what", "operator_acted")),
                name="saga_history_deeds_by",
            ),
        ),
    ]
