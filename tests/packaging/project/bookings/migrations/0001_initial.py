from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Booking",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seats", models.PositiveSmallIntegerField()),
                ("held", models.PositiveSmallIntegerField(default=0)),
                ("is_paid", models.BooleanField(default=False)),
            ],
        ),
    ]
