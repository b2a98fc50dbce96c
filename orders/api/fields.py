"""Take exactly what the schema says: no numbers as text, no text as numbers, no unknown member."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from sagas.conf import get_settings


class VerbatimField(serializers.CharField):
    """Take text as it is; the framework's own field takes numbers, too."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TextField(VerbatimField):
    """Take text on one line."""

    default_error_messages = {"control_character": "Text on one line, without control characters."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text without white space around it."""
        text = super().to_internal_value(data)
        if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text):
            self.fail("control_character")
        return text


class PlainTextField(TextField):
    """Take text on one line that is no secret: what customers paste by mistake must not be stored."""

    default_error_messages = {"secret": "This looks like a card number or a secret, which does not belong here."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        text = super().to_internal_value(data)
        if get_settings().redactor.redact_text(text) != text:
            self.fail("secret")
        return text


class WholeNumberField(serializers.IntegerField):
    """Take a JSON whole number; the framework's own field takes text, true, and digits of other scripts, too."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """Refuse members that the schema does not have: a client that sets a price must not believe it did."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the known members.

        Raises: ValidationError for unknown members and whatever is wrong with the known ones, together.
        """
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)
        errors: dict[Any, Any] = {
            name: [ErrorDetail("There is no such member, or it is not yours to set.", code="unknown_member")]
            for name in data
            if name not in self.fields
        }
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            errors.update(error.detail)
        if errors:
            raise ValidationError(errors)
        return value
