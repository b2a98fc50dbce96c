"""Name the app; its saga is found like that of any other."""

from django.apps import AppConfig


class PatientConfig(AppConfig):
    """App without models: its steps run in the engine's database."""

    name = "tests.commands.patient"
    label = "commands_patient"
