"""Rows of events in a participant's database: outbox, inbox, consumers, operators' actions and raised troubles.

They are migrated to every participant's database, as the barrier is, so that an event commits together with the data
that it is about. Source: Chris Richardson, Microservices Patterns, "Transactional outbox" and "Idempotent consumer".
"""

import uuid
from enum import StrEnum

from django.db import models
from django.db.models import Q

from ..core.visible import show_invisible
from .choices import choices_of, one_of
from .fields import MomentField

MAX_TYPE_CHARS = 100
MAX_PARTICIPANT_CHARS = 60
MAX_SOURCE_CHARS = 500
MAX_KEY_CHARS = 200
MAX_ID_CHARS = 200


class OutboxState(StrEnum):
    """Where an event of the outbox stands."""

    UNSENT = "unsent"  #: waits for a relay, or its last confirmation never came: it is sent again under the same id
    SENT = "sent"  #: the broker confirmed it
    PARKED = "parked"  #: the broker refused it too often; its source waits behind it


class InboxState(StrEnum):
    """Where an event stands with one consumer."""

    HANDLED = "handled"  #: its effect is committed
    RETRYING = "retrying"  #: its handler failed and is tried again when the row is due
    NOT_YET = "not_yet"  #: what it builds on has not arrived; tried again with each event of its key and by back-off
    HELD = "held"  #: an earlier event of its key failed; it follows when that one is handled or discarded
    DEAD = "dead"  #: its handler failed too often, or killed its process; an operator decides
    PARKED = "parked"  #: unreadable, unknown, or not its sender's to send, ever or now; it changed nothing
    DISCARDED = "discarded"  #: an operator gave it up


class EventStream(models.Model):
    """Counter of one source, locked by each publish until it commits, so that numbers follow the order of commits."""

    source = models.CharField(max_length=MAX_SOURCE_CHARS, unique=True)
    last_sequence = models.PositiveBigIntegerField(default=0)
    used_at = MomentField(help_text="When the last event was published.")

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=["used_at"], name="saga_stream_used"),)

    def __str__(self) -> str:
        return show_invisible(self.source)


class OutboxEvent(models.Model):
    """Event of this participant: written with its data, sent by a relay, kept for the retention."""

    event_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    participant = models.CharField(max_length=MAX_PARTICIPANT_CHARS, help_text="App label of the sender.")
    type = models.CharField(max_length=MAX_TYPE_CHARS)
    version = models.PositiveSmallIntegerField(default=1, help_text="Major version of the schema.")
    source = models.CharField(max_length=MAX_SOURCE_CHARS)
    sequence = models.PositiveBigIntegerField(null=True, blank=True, help_text="Per source; none without a key.")
    key = models.CharField(max_length=MAX_KEY_CHARS, blank=True, help_text="Empty: unordered.")
    correlation_id = models.CharField(max_length=MAX_ID_CHARS)
    causation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True, help_text="Event that was being handled.")
    traceparent = models.CharField(max_length=64, blank=True)
    topic = models.CharField(max_length=249, help_text="Without the prefix of the environment.")
    data = models.JSONField()
    recorded_at = MomentField(help_text="By the clock of this database, in the publishing transaction.")
    state = models.CharField(max_length=8, choices=choices_of(OutboxState), default=OutboxState.UNSENT.value)
    due_at = MomentField(null=True, blank=True, help_text="When it may be sent; empty once it is sent or parked.")
    lease_token = models.UUIDField(null=True, blank=True)
    leased_until = MomentField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Sendings that were not confirmed.")
    error = models.TextField(blank=True, help_text="Why the last sending failed.")
    sent_at = MomentField(null=True, blank=True, help_text="When the broker last confirmed it.")
    resends = models.PositiveSmallIntegerField(default=0, help_text="How often a consumer was found without it.")
    settled_at = MomentField(null=True, blank=True, help_text="When every consumer of ours was found to have it.")

    class Meta:
        default_permissions = ()
        permissions = (
            ("view_event", "Can see events"),
            ("view_event_payload", "Can see data and tracebacks of events, without personal data"),
            ("view_event_personal", "Can see personal data of events"),
            ("retry_event", "Can retry an event that failed"),
            ("replay_event", "Can send an event again or run its handler again"),
            ("discard_event", "Can discard an event"),
        )
        constraints = (
            models.UniqueConstraint(fields=["source", "sequence"], name="saga_outbox_sequence_once"),
            one_of("state", OutboxState, "saga_outbox_state_known"),
            models.CheckConstraint(
                condition=Q(state=OutboxState.UNSENT.value, due_at__isnull=False)
                | Q(state=OutboxState.SENT.value, due_at=None, sent_at__isnull=False, lease_token=None)
                | Q(state=OutboxState.PARKED.value, due_at=None, lease_token=None),
                name="saga_outbox_due_while_unsent",
            ),
            models.CheckConstraint(
                condition=Q(lease_token=None, leased_until=None)
                | Q(lease_token__isnull=False, leased_until__isnull=False),
                name="saga_outbox_lease_is_whole",
            ),
        )
        indexes = (
            models.Index(fields=["due_at", "id"], name="saga_outbox_due", condition=Q(state="unsent")),
            models.Index(
                fields=["source", "sequence"], name="saga_outbox_open", condition=Q(state__in=["unsent", "parked"])
            ),
            models.Index(fields=["sent_at"], name="saga_outbox_unsettled", condition=Q(state="sent", settled_at=None)),
            models.Index(fields=["id"], name="saga_outbox_parked", condition=Q(state="parked")),
            models.Index(
                fields=["id"], name="saga_outbox_resent", condition=Q(state="sent", settled_at=None, resends__gt=0)
            ),
            models.Index(fields=["key", "id"], name="saga_outbox_key"),
            models.Index(fields=["correlation_id", "id"], name="saga_outbox_correlation"),
            models.Index(fields=["type", "id"], name="saga_outbox_type"),
            models.Index(fields=["recorded_at"], name="saga_outbox_recorded"),
        )

    def __str__(self) -> str:
        return show_invisible(f"{self.type} {self.key or self.event_id}")


class InboxEvent(models.Model):
    """Event that one consumer received: proof that it was handled, or what is needed to handle it later."""

    consumer = models.CharField(max_length=MAX_PARTICIPANT_CHARS)
    source = models.CharField(max_length=MAX_SOURCE_CHARS)
    event_id = models.CharField(max_length=MAX_ID_CHARS)
    type = models.CharField(max_length=MAX_TYPE_CHARS, blank=True)
    version = models.PositiveSmallIntegerField(default=1)
    key = models.CharField(max_length=MAX_KEY_CHARS, blank=True)
    sequence = models.CharField(max_length=40, blank=True)
    correlation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True)
    causation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True)
    traceparent = models.CharField(max_length=64, blank=True)
    topic = models.CharField(max_length=249, blank=True)
    position = models.CharField(max_length=200, blank=True, help_text="Where the broker has it.")
    data = models.JSONField(null=True, blank=True, help_text="Null if the message could not be read.")
    raw = models.TextField(blank=True, help_text="The first bytes of a message that could not be read.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of type, version and data.")
    recorded_at = MomentField(null=True, blank=True, help_text="By the sender's clock.")
    received_at = MomentField(help_text="First arrival, by the clock of this database.")
    state = models.CharField(max_length=9, choices=choices_of(InboxState))
    due_at = MomentField(null=True, blank=True, help_text="When it is tried again.")
    attempts = models.PositiveIntegerField(default=0, help_text="Failed runs of its handler.")
    duplicates = models.PositiveIntegerField(default=0, help_text="Further arrivals, none of which was run.")
    error_class = models.CharField(max_length=200, blank=True)
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    handled_at = MomentField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["consumer", "source", "event_id"], name="saga_inbox_once"),
            one_of("state", InboxState, "saga_inbox_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=["retrying", "not_yet"], due_at__isnull=False)
                | ~Q(state__in=["retrying", "not_yet"]) & Q(due_at=None),
                name="saga_inbox_due_while_waiting",
            ),
            models.CheckConstraint(
                condition=Q(state="handled", handled_at__isnull=False) | ~Q(state="handled"),
                name="saga_inbox_handled_has_time",
            ),
        )
        indexes = (
            models.Index(
                fields=["consumer", "due_at", "id"],
                name="saga_inbox_due",
                condition=Q(state__in=["retrying", "not_yet"]),
            ),
            models.Index(fields=["consumer", "key", "id"], name="saga_inbox_open", condition=~Q(state="handled")),
            models.Index(fields=["state", "id"], name="saga_inbox_trouble", condition=~Q(state="handled")),
            models.Index(fields=["event_id"], name="saga_inbox_event"),
            models.Index(fields=["key", "id"], name="saga_inbox_key"),
            models.Index(fields=["correlation_id", "id"], name="saga_inbox_correlation"),
            models.Index(fields=["type", "id"], name="saga_inbox_type"),
            models.Index(fields=["received_at"], name="saga_inbox_received"),
        )

    def __str__(self) -> str:
        return show_invisible(f"{self.consumer} {self.type} {self.key or self.event_id}")


class InboxKey(models.Model):
    """Lock of one consumer and key: its events are handled one after the other, and stop behind a failed one."""

    consumer = models.CharField(max_length=MAX_PARTICIPANT_CHARS)
    key = models.CharField(max_length=MAX_KEY_CHARS)
    head = models.ForeignKey(
        InboxEvent, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="The failed event."
    )
    awaits = models.BooleanField(default=False, help_text="Whether events of this key are not yet handled.")
    used_at = MomentField()

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["consumer", "key"], name="saga_inbox_key_once"),)
        indexes = (models.Index(fields=["used_at"], name="saga_inbox_key_used"),)

    def __str__(self) -> str:
        return show_invisible(f"{self.consumer} {self.key}")


class EventConsumer(models.Model):
    """Heartbeat of one consumer in one process."""

    name = models.CharField(max_length=200, help_text="host:pid")
    consumer = models.CharField(max_length=MAX_PARTICIPANT_CHARS)
    transport = models.CharField(max_length=20)
    started_at = MomentField()
    seen_at = MomentField()
    handled_at = MomentField(null=True, blank=True, help_text="When it last handled an event.")
    lag = models.PositiveBigIntegerField(null=True, blank=True, help_text="Events that it has not seen; null: unknown.")
    lag_at = MomentField(null=True, blank=True, help_text="When the lag was read.")
    trouble = models.TextField(blank=True, help_text="Why it does not consume now.")

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["consumer", "name"], name="saga_consumer_once"),)
        indexes = (models.Index(fields=["seen_at"], name="saga_consumer_seen"),)

    def __str__(self) -> str:
        return show_invisible(f"{self.consumer} {self.name}")


class EventOperation(models.Model):
    """What an operator did to an event, and why; rows are never changed or deleted."""

    at = MomentField(help_text="By the clock of this database.")
    actor = models.CharField(max_length=200)
    operation = models.CharField(max_length=20, help_text="retry, replay or discard.")
    reason = models.TextField()
    consumer = models.CharField(max_length=MAX_PARTICIPANT_CHARS, blank=True, help_text="Empty: sent again to all.")
    source = models.CharField(max_length=MAX_SOURCE_CHARS)
    event_id = models.CharField(max_length=MAX_ID_CHARS)
    type = models.CharField(max_length=MAX_TYPE_CHARS, blank=True)
    key = models.CharField(max_length=MAX_KEY_CHARS, blank=True)
    state_before = models.CharField(max_length=9)
    result = models.CharField(max_length=2_000, help_text="What became of it.")

    class Meta:
        default_permissions = ()
        indexes = (
            models.Index(fields=["event_id", "id"], name="saga_event_operation_event"),
            models.Index(fields=["key", "id"], name="saga_event_operation_key"),
        )

    def __str__(self) -> str:
        return show_invisible(f"{self.operation} {self.type} {self.key or self.event_id}")


class EventTrouble(models.Model):
    """Trouble of a participant's events that lasts: alerted once, and again when it takes in more events."""

    participant = models.CharField(max_length=MAX_PARTICIPANT_CHARS)
    reason = models.CharField(max_length=30)
    mark = models.PositiveBigIntegerField(default=0, help_text="Newest row that is part of it.")
    raised_at = MomentField(help_text="When it was last alerted.")

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["participant", "reason"], name="saga_event_trouble_once"),)

    def __str__(self) -> str:
        return show_invisible(f"{self.participant} {self.reason}")
