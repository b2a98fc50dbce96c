"""Exceptions of events. Pure: no Django import.

::

    SagaError
    └── EventError
        ├── EventRefused      an event cannot be published or read: its data, size, key or version
        ├── NotYet            raised *by* handlers: what this event builds on has not arrived
        ├── ContractViolated  raised *by* handlers: its sender must not send this event now
    └── TransportError
            ├── BrokerAway    the broker cannot be reached, is full or does not answer; nothing is known
            └── SendRefused   the broker refuses this one message
"""

from ..exceptions import SagaError


class EventError(SagaError):
    """Base class of all exceptions of events."""


class EventRefused(EventError):
    """An event cannot be published or read; the message names the field."""


class NotYet(EventError):
    """A handler was called before the beginning that its event builds on has arrived.

    The event is stored and tried again when another event of its key is handled, and by back-off. It is no failure: it
    holds nothing back and spends no budget.
    """


class ContractViolated(EventError):
    """A handler was called with an event that its sender must not send in this state.

    The event is parked for an operator: it is not tried again and holds nothing back.
    """


class TransportError(EventError):
    """Base class of a broker's errors."""


class BrokerAway(TransportError):
    """The broker cannot be reached, is full, or did not confirm in time: the messages may or may not be there."""


class SendRefused(TransportError):
    """The broker refused a message for a reason of its own, such as its size or a missing route."""
