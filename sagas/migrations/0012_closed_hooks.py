from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0011_accounts_with_long_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="saga",
            name="hook_due_at",
            field=models.DateTimeField(
                blank=True, help_text="When on_closed is to be called; empty: nothing is owed.", null=True
            ),
        ),
        migrations.AddField(
            model_name="saga",
            name="hook_tries",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="How often on_closed was called for this end without success."
            ),
        ),
        migrations.AddField(
            model_name="sagastep",
            name="is_woken",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Whether it is asked again as soon as its live attempt ends."
            ),
        ),
        migrations.AddIndex(
            model_name="saga",
            index=models.Index(
                condition=models.Q(("hook_due_at__isnull", False)), fields=["hook_due_at"], name="saga_hook_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="saga",
            constraint=models.CheckConstraint(
                condition=models.Q(("hook_due_at__isnull", True), ("closed_at__isnull", False), _connector="OR"),
                name="saga_hook_is_owed_after_the_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="sagastep",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_woken", False), ("lease_token__isnull", False), _connector="OR"),
                name="saga_step_woken_only_while_live",
            ),
        ),
    ]
