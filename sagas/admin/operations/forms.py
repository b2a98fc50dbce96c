"""Form of an operation on one saga, and its fields."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from ...conf import get_settings
from ...core.json_values import parse_json
from ...exceptions import BadRequest, InputRefused
from ...operators.notes import MAX_NOTE_CHARS
from ...operators.operations import MAX_REASON_CHARS, MIN_REASON_CHARS, measure_text
from ...operators.preconditions import Operation
from ..saga_page.page import GRAVE

EVIDENCE_OPERATIONS = frozenset({Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED})
RESULT_OPERATIONS = frozenset({Operation.SKIP, Operation.MARK_SUCCEEDED})
MAX_NUMBER = 2_147_483_647  # of a PostgreSQL integer


class WordsField(forms.CharField):
    """Text of a few sentences; a line end counts as one character, as in the browser."""

    def __init__(self, *, least: int = MIN_REASON_CHARS, most: int = MAX_REASON_CHARS, **kwargs: Any) -> None:
        self.limits = {"least": least, "most": most}
        super().__init__(
            min_length=least,
            max_length=most,
            widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
            **kwargs,
        )

    def to_python(self, value: Any) -> str:
        """Return the text with plain line ends."""
        return str(super().to_python(value) or "").replace("\r\n", "\n").strip()

    def run_validators(self, value: Any) -> None:
        """Check the length and the number of visible characters.

        Raises: ValidationError.
        """
        super().run_validators(value)
        try:
            measure_text(value, str(self.label), **self.limits)
        except BadRequest as error:
            raise ValidationError(str(error)) from error


class ResultField(forms.CharField):
    """Optional JSON object."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField saga-json", "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **kwargs)

    def clean(self, value: Any) -> dict[str, Any] | None:
        """Return the object, or None when the field is empty.

        Raises: ValidationError.
        """
        text = str(super().clean(value)).strip()
        if not text:
            return None
        try:
            found = parse_json(text, "The result", get_settings().result_max_bytes)
        except InputRefused as error:
            raise ValidationError(str(error)) from error
        if not isinstance(found, dict):
            raise ValidationError('Write a JSON object, such as {"payment": "…"}.')
        return found


class NoteForm(forms.Form):
    """Form with the text of a note; ``seen`` is the number of the newest history entry on the author's page."""

    seen = forms.IntegerField(min_value=0, max_value=MAX_NUMBER, widget=forms.HiddenInput)
    text = WordsField(
        least=1, most=MAX_NOTE_CHARS, label="Note", help_text=f"1 to {MAX_NOTE_CHARS} characters; kept for good."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


class OperationForm(forms.Form):
    """Form with the reason and, where the operation takes them, evidence and a result.

    The hidden fields revision, history number and step identify the preview that the operator has seen.
    """

    revision = forms.IntegerField(min_value=1, max_value=MAX_NUMBER, widget=forms.HiddenInput)
    seen = forms.IntegerField(min_value=0, max_value=MAX_NUMBER, required=False, widget=forms.HiddenInput)
    step = forms.CharField(max_length=60, required=False, widget=forms.HiddenInput)
    reason = WordsField(
        label="Reason", help_text=f"{MIN_REASON_CHARS} to {MAX_REASON_CHARS} characters; kept in the history for good."
    )

    def __init__(self, *args: Any, operation: Operation, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        if operation not in GRAVE:  # there, the browser must not scroll past the plan
            self.fields["reason"].widget.attrs["autofocus"] = True
        if operation in EVIDENCE_OPERATIONS:
            self.fields["evidence"] = WordsField(
                label="Evidence", help_text="How you know: who said so, or where it is recorded. Kept in the history."
            )
        if operation in RESULT_OPERATIONS:
            self.fields["result"] = ResultField(
                label="Result (JSON, optional)", help_text="What the step would have returned, for later steps to read."
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the operation's function."""
        names = ("reason", "revision", "evidence", "result")
        return {name: self.cleaned_data[name] for name in names if name in self.cleaned_data}
