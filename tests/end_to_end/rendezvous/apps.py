"""Name the app; its saga is found like that of any other."""

from django.apps import AppConfig


class RendezvousConfig(AppConfig):
    """App without models: its steps run in the engine's database."""

    name = "tests.end_to_end.rendezvous"
    label = "acceptance_rendezvous"
