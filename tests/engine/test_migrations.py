"""Migrations and models agree, and the tables need no app beyond the engine's own."""

import pytest
from django.apps import apps
from django.core.management import call_command

pytestmark = pytest.mark.django_db(databases="__all__")


def test_models_are_as_the_migrations_make_them() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_no_column_of_the_engine_needs_an_app_that_a_project_has_not_installed() -> None:
    """Its fields are Django's own, django_fsm's, and one of its own with Django's column."""
    homes = {type(field).__module__.partition(".fields")[0] for field in list_fields()}
    assert homes == {"django.db.models", "django_fsm", "sagas.models"}


def list_fields() -> list[object]:
    """Return the fields of every model of the engine."""
    return [field for model in apps.get_app_config("sagas").get_models() for field in model._meta.concrete_fields]
