"""Migrations and models agree, and the tables need no app beyond the engine's own."""

import pytest
from django.apps import apps
from django.core.management import call_command

pytestmark = pytest.mark.django_db(databases="__all__")


def test_migrations_match_the_models() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_engine_columns_need_no_other_installed_app() -> None:
    """Check that all fields are Django's, django_fsm's, or one of the engine's with Django's column."""
    homes = {type(field).__module__.partition(".fields")[0] for field in list_fields()}
    assert homes == {"django.db.models", "django_fsm", "sagas.models"}


def list_fields() -> list[object]:
    """Return the fields of every model of the engine."""
    return [field for model in apps.get_app_config("sagas").get_models() for field in model._meta.concrete_fields]
