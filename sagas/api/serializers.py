"""Serializers: the first part reads bodies, the second describes answers for OpenAPI."""

from typing import Any

from rest_framework import serializers

from ..core.definition.remedies import SUGGESTIONS
from ..core.states import Coordination, Direction
from ..models import BulkResult, BulkState
from ..operators.bulk.freezing import MAX_SELECTED
from ..operators.bulk.preconditions import BULK_OPERATIONS
from ..operators.notes import MAX_NOTE_CHARS
from ..operators.operations import MAX_REASON_CHARS, MIN_REASON_CHARS
from ..operators.preconditions import Operation
from ..operators.queries.saga_filter import CRITERIA
from .fields import StrictSerializer, TextField, TrueField, WholeNumberField

MAX_NUMBER = 2_147_483_647  # of a PostgreSQL integer


class SagaActionSerializer(StrictSerializer):
    """A request for an operation. `revision` is the revision of the saga on which the decision is based."""

    reason = TextField(min_length=MIN_REASON_CHARS, max_length=MAX_REASON_CHARS)
    revision = WholeNumberField(min_value=1, max_value=MAX_NUMBER)
    step = TextField(max_length=60, required=False)
    evidence = TextField(min_length=MIN_REASON_CHARS, max_length=MAX_REASON_CHARS, required=False)
    result = serializers.DictField(required=False)


class SagaNoteTextSerializer(StrictSerializer):
    """A note to write. `seen`: number of the newest note that you know, so that a repeated request adds none."""

    text = TextField(max_length=MAX_NOTE_CHARS)
    seen = WholeNumberField(min_value=0, max_value=MAX_NUMBER, required=False)


class SagaRemedySerializer(StrictSerializer):
    """A request to run a remedy. A repair needs a `reason`; `retries`: retry the step if the answer suggests it."""

    name = TextField(max_length=40)
    step = TextField(max_length=60, required=False)
    reason = TextField(min_length=MIN_REASON_CHARS, max_length=MAX_REASON_CHARS, required=False)
    revision = WholeNumberField(min_value=1, max_value=MAX_NUMBER, required=False)
    retries = TrueField(required=False)


class SagaFilterSerializer(StrictSerializer):
    """A filter of sagas; at least one member."""

    def get_fields(self) -> dict[str, Any]:
        """Return a text for each criterion."""
        return {name: TextField(max_length=criterion.max_chars, required=False) for name, criterion in CRITERIA.items()}


class SagaBulkFreezeSerializer(StrictSerializer):
    """A set of sagas to freeze: exactly one of `sagas`, `filter` and `everything`."""

    operation = serializers.ChoiceField(choices=[operation.value for operation in BULK_OPERATIONS])
    sagas = serializers.ListField(
        child=serializers.UUIDField(), required=False, allow_empty=False, max_length=MAX_SELECTED
    )
    filter = SagaFilterSerializer(required=False)
    everything = TrueField(required=False)


class SagaBulkStartSerializer(StrictSerializer):
    """A confirmation of a set: `count` for more than 100 sagas, `words` for a set without a filter."""

    reason = TextField(min_length=MIN_REASON_CHARS, max_length=MAX_REASON_CHARS)
    count = WholeNumberField(min_value=0, max_value=MAX_NUMBER, required=False)
    words = TextField(max_length=60, required=False)


class SagaBulkStopSerializer(StrictSerializer):
    """A request to stop a bulk; the reason is optional."""

    reason = TextField(max_length=MAX_REASON_CHARS, required=False, allow_blank=True)


class SagaSummarySerializer(serializers.Serializer):  # type: ignore[type-arg]
    id = serializers.UUIDField()
    definition = serializers.CharField()
    version = serializers.IntegerField()
    keys = serializers.DictField(child=serializers.CharField())
    state = serializers.CharField()
    display_state = serializers.CharField()
    needs = serializers.ListField(child=serializers.CharField())
    step = serializers.CharField(allow_blank=True)
    step_state = serializers.CharField(allow_blank=True)
    step_display_state = serializers.CharField(allow_blank=True)
    attempts = serializers.IntegerField()
    last_error = serializers.CharField(allow_blank=True, help_text="Only its class without sagas.view_error.")
    revision = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)


class SagaStepDocumentSerializer(serializers.Serializer):  # type: ignore[type-arg]
    name = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    display_state = serializers.CharField()
    hold = serializers.CharField(allow_null=True)
    attention = serializers.CharField(allow_null=True)
    effect = serializers.CharField()
    action_attempts = serializers.IntegerField()
    compensation_attempts = serializers.IntegerField()
    due_at = serializers.DateTimeField(allow_null=True)
    is_live = serializers.BooleanField()
    is_assumed = serializers.BooleanField()
    last_error = serializers.CharField(allow_blank=True)
    actions = serializers.ListField(
        child=serializers.CharField(),
        help_text="What this account may do to it now: retry, skip or a mark.",
    )


class SagaActionStateSerializer(serializers.Serializer):  # type: ignore[type-arg]
    operation = serializers.CharField()
    is_allowed = serializers.BooleanField()
    refusal = serializers.CharField(allow_blank=True)


class SagaDebtSerializer(serializers.Serializer):  # type: ignore[type-arg]
    step = serializers.CharField()
    by = serializers.CharField(help_text="The participant.")
    types = serializers.ListField(child=serializers.CharField(), help_text="Events, one of which is owed.")
    since = serializers.DateTimeField()
    due_at = serializers.DateTimeField(help_text="The end of its limit.")


class SagaDocumentSerializer(SagaSummarySerializer):
    coordination = serializers.ChoiceField(choices=[style.value for style in Coordination])
    owed = SagaDebtSerializer(many=True, help_text="What participants owe to a choreographed saga.")
    steps = SagaStepDocumentSerializer(many=True)
    actions = SagaActionStateSerializer(many=True, help_text="Operations on the whole saga, for this account.")


class SagaPageSerializer(serializers.Serializer):  # type: ignore[type-arg]
    next = serializers.CharField(allow_null=True, help_text="Path of the next page; null on the last.")
    results = SagaSummarySerializer(many=True)


class SagaPreviewSerializer(serializers.Serializer):  # type: ignore[type-arg]
    operation = serializers.CharField()
    saga_id = serializers.UUIDField()
    step = serializers.CharField(allow_null=True)
    revision = serializers.IntegerField()
    position = serializers.CharField()
    is_allowed = serializers.BooleanField()
    refusal = serializers.CharField(allow_blank=True)
    outcome = serializers.CharField(allow_blank=True)
    runs = serializers.ListField(child=serializers.DictField())
    left_behind = serializers.ListField(child=serializers.DictField())
    impossible = serializers.ListField(child=serializers.CharField())
    live = serializers.ListField(child=serializers.DictField())


class SagaOperationResultSerializer(serializers.Serializer):  # type: ignore[type-arg]
    saga_id = serializers.UUIDField()
    operation = serializers.ChoiceField(choices=[operation.value for operation in Operation])
    state = serializers.CharField()
    display_state = serializers.CharField()
    revision = serializers.IntegerField()
    message = serializers.CharField()
    is_repeat = serializers.BooleanField()


class SagaNoteSerializer(serializers.Serializer):  # type: ignore[type-arg]
    saga_id = serializers.UUIDField()
    number = serializers.IntegerField(help_text="Number of its history entry.")
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    text = serializers.CharField()
    is_repeat = serializers.BooleanField(help_text="Whether it had been written before, so that nothing was added.")


class SagaNotePageSerializer(serializers.Serializer):  # type: ignore[type-arg]
    next = serializers.CharField(allow_null=True, help_text="Path of the next page; null on the last.")
    results = SagaNoteSerializer(many=True)


class SagaOfferedRemedySerializer(serializers.Serializer):  # type: ignore[type-arg]
    name = serializers.CharField()
    label: Any = serializers.CharField()
    kind = serializers.ChoiceField(choices=["look_up", "repair"])
    changes = serializers.CharField(allow_blank=True, help_text="What a repair changes; empty for a look-up.")
    step = serializers.CharField()
    direction = serializers.ChoiceField(choices=[direction.value for direction in Direction])


class SagaRemedyListSerializer(serializers.Serializer):  # type: ignore[type-arg]
    results = SagaOfferedRemedySerializer(many=True)


class SagaRemedyResultSerializer(serializers.Serializer):  # type: ignore[type-arg]
    saga_id = serializers.UUIDField()
    remedy = serializers.CharField()
    step = serializers.CharField()
    label: Any = serializers.CharField()
    text = serializers.CharField()
    facts = serializers.DictField()
    evidence = serializers.CharField(allow_blank=True)
    result = serializers.DictField(allow_null=True)
    suggestion = serializers.ChoiceField(
        choices=list(SUGGESTIONS), allow_null=True, help_text="The operation that should follow and is possible."
    )
    refusals = serializers.ListField(child=serializers.CharField(), help_text="Why suggested operations are not.")
    retried = SagaOperationResultSerializer(allow_null=True)
    is_repeat = serializers.BooleanField()


class SagaBulkSummarySerializer(serializers.Serializer):  # type: ignore[type-arg]
    id = serializers.UUIDField()
    operation = serializers.CharField()
    state: Any = serializers.CharField()
    actor = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    words = serializers.CharField()
    filter = serializers.DictField(child=serializers.CharField(), allow_null=True)
    total = serializers.IntegerField()
    frozen_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    stopped_by = serializers.CharField(allow_blank=True)
    confirm_until = serializers.DateTimeField()


class SagaBulkDocumentSerializer(SagaBulkSummarySerializer):
    state = serializers.ChoiceField(choices=[state.value for state in BulkState])
    counts = serializers.DictField(child=serializers.IntegerField())


class SagaBulkPageSerializer(serializers.Serializer):  # type: ignore[type-arg]
    next = serializers.CharField(allow_null=True, help_text="Path of the next page; null on the last.")
    results = SagaBulkSummarySerializer(many=True)


class SagaBulkItemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    position = serializers.IntegerField()
    saga_id = serializers.UUIDField()
    revision = serializers.IntegerField()
    result = serializers.ChoiceField(choices=[result.value for result in BulkResult], allow_null=True)
    message = serializers.CharField(allow_blank=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class SagaBulkItemPageSerializer(serializers.Serializer):  # type: ignore[type-arg]
    next = serializers.CharField(allow_null=True, help_text="Path of the next page; null on the last.")
    results = SagaBulkItemSerializer(many=True)


class SagaInputErrorSerializer(serializers.Serializer):  # type: ignore[type-arg]
    pointer = serializers.CharField(allow_blank=True, help_text="JSON pointer (RFC 6901); empty for the whole body.")
    code = serializers.CharField()
    detail = serializers.CharField()


class SagaProblemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """A problem document (RFC 9457)."""

    type = serializers.CharField(help_text="`urn:problem:` followed by the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="A stable name of the kind of problem.")
    detail = serializers.CharField()
    errors: Any = SagaInputErrorSerializer(many=True, required=False)
