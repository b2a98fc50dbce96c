"""App configuration; its saga is discovered like any other."""

from django.apps import AppConfig


class RendezvousConfig(AppConfig):
    """App without models: its steps run in the engine's database."""

    name = "tests.end_to_end.rendezvous"
    label = "acceptance_rendezvous"
