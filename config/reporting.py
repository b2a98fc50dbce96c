"""Django's error reports, on DEBUG pages and in mails, without secrets; log lines are in log_lines."""

from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from config.log_lines import find_redactor


class RedactingFilter(SafeExceptionReporterFilter):
    """Filter that masks secrets in the settings, request and variables of Django's error reports."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Return True in DEBUG, too, because error pages are copied into tickets."""
        return True

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """Return a setting, a header or a cookie, masked by name and by pattern."""
        cleansed = super().cleanse_setting(key, value)
        redactor = find_redactor()
        if isinstance(key, str) and isinstance(cleansed, str) and redactor.is_secret(key, cleansed):
            return self.cleansed_substitute
        return redactor.redact_text(cleansed) if isinstance(cleansed, str) else cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> Any:
        """Return the names of form fields without values: forms contain passwords, reasons and evidence."""
        return {} if request is None else dict.fromkeys(request.POST, self.cleansed_substitute)

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: Any) -> Any:
        """Return variables with their types instead of values, which may be addresses and payment methods."""
        return [(name, f"<{type(value).__qualname__}>") for name, value in tb_frame.f_locals.items()]


class RedactingReporter(ExceptionReporter):
    """Error report that Django shows or mails, without secrets and values of variables."""

    def get_traceback_data(self) -> dict[str, Any]:
        """Return the data of the report, before a template escapes them."""
        data: dict[str, Any] = super().get_traceback_data()
        redact = find_redactor().redact_text
        for name in ("exception_value", "exception_notes", "request_insecure_uri", "unicode_hint", "user_str"):
            if isinstance(data.get(name), str):
                data[name] = redact(data[name])
        for frame in data["frames"]:
            if frame.get("exc_cause") is not None:
                frame["exc_cause"] = redact(str(frame["exc_cause"]))
        if "request_GET_items" in data:
            shown = [(name, self.filter.cleanse_setting(name, value)) for name, value in data["request_GET_items"]]
            data["request_GET_items"] = [(redact(name), value) for name, value in shown]
        return data

    def get_traceback_html(self) -> Any:
        """Return the report as an HTML page."""
        return _redact_lines(super().get_traceback_html())

    def get_traceback_text(self) -> Any:
        """Return the report as text."""
        return _redact_lines(super().get_traceback_text())


def _redact_lines(text: str) -> str:
    """Return a report with secrets masked line by line, because it exceeds the redactor's limit for one text."""
    redact = find_redactor().redact_text
    return "\n".join(redact(line) for line in text.split("\n"))
