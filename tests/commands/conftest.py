"""Fixture: the trip is registered in every test of a command."""

from collections.abc import Iterator

import pytest

from sagas import SagaDefinition, clock

from .cases import trips


@pytest.fixture(autouse=True)
def trip() -> Iterator[type[SagaDefinition]]:
    with trips() as definition, clock.restored():
        yield definition
