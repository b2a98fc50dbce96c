"""Name the app; its saga is found like that of any other."""

from django.apps import AppConfig


class PatientConfig(AppConfig):
    """Be an app without models: its steps run in the engine's database."""

    name = "tests.commands.patient"
    label = "commands_patient"
