"""Visibility of events on the page of a saga: their data, and links to the pages about them."""

from dataclasses import dataclass

from ...operators.actor import Actor
from ...operators.event_operations import VIEW, VIEW_PAYLOAD, VIEW_PERSONAL


@dataclass(frozen=True, kw_only=True)
class EventVisibility:
    """What a reader sees of events besides their states."""

    has_links: bool
    """Whether events link to their own pages."""
    has_data: bool = False
    """Whether data are shown."""
    has_personal: bool = False
    """Whether personal fields of the data are shown."""


def find_event_visibility(actor: Actor) -> EventVisibility:
    """Return what the permissions of an actor allow it to see."""
    has_data = actor.may(VIEW_PAYLOAD)
    return EventVisibility(
        has_links=actor.may(VIEW), has_data=has_data, has_personal=has_data and actor.may(VIEW_PERSONAL)
    )
