"""Fields that accept exactly what the schema says: no numbers as text, no text as numbers, no unknown member."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError


class TextField(serializers.CharField):
    """Text; the framework's own field takes numbers, too."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class WholeNumberField(serializers.IntegerField):
    """A JSON whole number; the framework's own field takes text, true, and digits of other scripts, too."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if type(data) is not int:
            self.fail("invalid")
        return int(super().to_internal_value(data))


class TrueField(serializers.BooleanField):
    """Only ``true``, so that the client states what it wants."""

    def to_internal_value(self, data: Any) -> bool:
        """Return true."""
        if data is not True:
            self.fail("invalid", input=data)
        return True


class StrictSerializer(serializers.Serializer):  # type: ignore[type-arg]  # not generic when it runs
    """A serializer that refuses unknown members: a client that sets a price must not believe it did."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the known members.

        Raises: ValidationError with the errors of unknown and known members together.
        """
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)
        errors: dict[Any, Any] = {
            name: [ErrorDetail("This member is unknown or cannot be set.", code="unknown_member")]
            for name in data
            if name not in self.fields
        }
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            detail: Any = error.detail
            errors.update(detail)
        if errors:
            raise ValidationError(errors)
        return value
