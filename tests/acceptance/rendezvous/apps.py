"""Name the app; its saga is found like that of any other."""

from django.apps import AppConfig


class RendezvousConfig(AppConfig):
    """App without models: its steps run in the engine's database."""

    name = "tests.acceptance.rendezvous"
    label = "acceptance_rendezvous"
