"""Tables that hold what the engine advances: those of sagas, or of another room that reuses the engine."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ...conf import get_settings
from ...models import SagaAttempt
from .unit_of_work import SagaUnitOfWork


class RowStore(Protocol):
    """Where the engine finds, locks and writes what it advances."""

    @property
    def using(self) -> str:
        """Alias of the database."""
        ...

    @property
    def attempts(self) -> Any:
        """Model of attempts, with the columns ``lease_token`` and ``outcome``."""
        ...

    def lock(self, wanted: UUID, *, checks_session: bool = False, checks_mark: bool = False) -> SagaUnitOfWork:
        """Lock a row and return its unit of work; the parameters are those of ``SagaUnitOfWork.lock``.

        Raises: SagaNotFound; ConnectionAltered; TransactionEnded.
        """
        ...


@dataclass(frozen=True)
class SagaRows:
    """Tables of sagas, in the engine's database."""

    attempts: Any = SagaAttempt

    @property
    def using(self) -> str:
        """Alias of the engine's database."""
        return get_settings().database

    def lock(self, wanted: UUID, *, checks_session: bool = False, checks_mark: bool = False) -> SagaUnitOfWork:
        """Lock a saga."""
        return SagaUnitOfWork.lock(wanted, checks_session=checks_session, checks_mark=checks_mark)


SAGAS: RowStore = SagaRows()
