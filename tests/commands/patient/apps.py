"""App configuration; its saga is discovered like any other."""

from django.apps import AppConfig


class PatientConfig(AppConfig):
    """App without models: its steps run in the engine's database."""

    name = "tests.commands.patient"
    label = "commands_patient"
