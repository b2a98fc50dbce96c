"""Forms that confirm and stop a bulk."""

import re
from typing import Any

from django import forms

from ...operators.bulk.preconditions import EVERYTHING
from ...operators.operations import MAX_REASON_CHARS
from ..operations.forms import MAX_NUMBER, WordsField

REASON_HELP = "10 to 500 characters; kept in the history of each saga for good."


# Digits in groups of three, or of two before the last three, with the same separator throughout.
GROUPED = re.compile(r"\d{1,3}(?P<mark>[.,'\u2019_ \u00a0\u2009\u202f])(?:\d{2,3}(?P=mark))*\d{3}")


class CountField(forms.IntegerField):
    """Count in any locale's notation: 1200, 1.200, 1,200, 1 200 or 1'200."""

    def to_python(self, value: Any) -> int | None:
        """Return the count; a separator between groups is never a decimal point, since a count is whole."""
        text = value.strip() if isinstance(value, str) else value
        if isinstance(text, str) and (found := GROUPED.fullmatch(text)):
            text = text.replace(found["mark"], "")
        return super().to_python(text)


class StartForm(forms.Form):
    """Form with the reason; for a large set also the count, for an unfiltered set also the confirmation words."""

    reason = WordsField(label="Reason", help_text=REASON_HELP)

    def __init__(self, *args: Any, total: int, needs_count: bool, needs_words: bool, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        attributes = {"autocomplete": "off"}
        if needs_count:
            self.fields["count"] = CountField(
                label="How many sagas?", min_value=0, max_value=MAX_NUMBER, help_text=f"Type {total} to go on.",
                widget=forms.TextInput(attrs={**attributes, "inputmode": "numeric"}),
            )  # fmt: skip
        if needs_words:
            self.fields["words"] = forms.CharField(
                label="Which sagas?", max_length=60, help_text=f"This selection has no filter. Type: {EVERYTHING}",
                widget=forms.TextInput(attrs=attributes),
            )  # fmt: skip


class StopForm(forms.Form):
    """Form with an optional reason."""

    reason = forms.CharField(
        label="Reason (optional)",
        required=False,
        max_length=MAX_REASON_CHARS,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
