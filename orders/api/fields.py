"""Fields of text that customers type."""

import unicodedata
from typing import Any

from sagas.api.fields import TextField
from sagas.conf import get_settings


class LineField(TextField):
    """Text on one line."""

    default_error_messages = {"control_character": "Write one line, without control characters."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text without white space around it."""
        text = super().to_internal_value(data)
        if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text):
            self.fail("control_character")
        return text


class PlainLineField(LineField):
    """Text on one line that is no secret: what customers paste by mistake must not be stored."""

    default_error_messages = {"secret": "This appears to contain a card number or a secret; remove it."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        text = super().to_internal_value(data)
        if get_settings().redactor.redact_text(text) != text:
            self.fail("secret")
        return text
