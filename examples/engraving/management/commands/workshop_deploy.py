from collections.abc import Mapping
from typing import Any

from examples.engraving.tomorrow import GiftEngravingSaga
from sagas.engine import advance
from sagas.management.base import SagaCommand
from sagas.models import Saga


class Command(SagaCommand):
    help = (
        "Simulate a worker with tomorrow's code: continue the engravings held because no worker has version 2 of\n"
        "their definition. For the demo only."
    )
    example = "manage.py workshop_deploy"
    prints_data = False

    def run(self, options: Mapping[str, Any]) -> None:
        """Advance the held sagas, and print the state of each."""
        held = Saga.objects.filter(
            definition=GiftEngravingSaga.name, version=GiftEngravingSaga.version, closed_at__isnull=True
        )
        found = list(held.values_list("pk", flat=True))
        for saga_id in found:
            advance.advance(saga_id, worker="tomorrow")
            self.stdout.write(f"{saga_id} is {Saga.objects.get(pk=saga_id).state}.")
        if not found:
            self.stdout.write("No saga is waiting for version 2 of the engraving.")
