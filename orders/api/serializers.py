"""Serializers of the shop's requests and answers.

What comes in becomes the frozen requests of ``orders.requests``. What goes out is made by ``orders.summaries`` and
``problems``; the serializers below describe it for the OpenAPI document, and a test holds both against each other.
"""

from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from orders.api.countries import COUNTRIES
from orders.models import CURRENCY, MAX_LINES, MAX_QUANTITY, Coordination
from orders.reasons import Reason
from orders.requests import Address, CheckoutRequest, LineRequest, Money
from orders.summaries import DisplayStatus
from sagas.api.fields import StrictSerializer, TextField, WholeNumberField
from sagas.api.parsers import MAX_WHOLE_NUMBER
from sagas.api.serializers import SagaInputErrorSerializer, SagaProblemSerializer
from sagas.core.states import SagaState, StepState

from .fields import LineField, PlainLineField

PAYMENT_METHOD = RegexValidator(r"\Apm_[A-Za-z0-9_]{1,60}\Z", "Write pm_ and 1 to 60 letters, digits or underscores.")


class LogInSerializer(StrictSerializer):
    """User name and password."""

    username = LineField(max_length=150)
    password = TextField(max_length=128, trim_whitespace=False)


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Token <token>`.")


class NothingSerializer(StrictSerializer):
    """An empty body, or an empty object."""


class ExpectedTotalSerializer(StrictSerializer):
    """The total that the customer saw."""

    amount_minor = WholeNumberField(min_value=0, max_value=MAX_WHOLE_NUMBER, help_text="In minor units, e.g. cents.")
    currency = LineField(min_length=3, max_length=3, validators=[CURRENCY], help_text="ISO 4217.")


class CheckoutLineSerializer(StrictSerializer):
    """A quantity of one SKU of the catalogue."""

    sku = LineField(max_length=64)
    quantity = WholeNumberField(min_value=1, max_value=MAX_QUANTITY)


class AddressSerializer(StrictSerializer):
    """A shipping address."""

    name = PlainLineField(max_length=100)
    line1 = PlainLineField(max_length=200)
    line2 = PlainLineField(max_length=200, required=False, allow_blank=True, default="")
    city = PlainLineField(max_length=100)
    postal_code = PlainLineField(max_length=20)
    country = LineField(min_length=2, max_length=2, help_text="ISO 3166-1 alpha-2, upper case.")

    def validate_country(self, value: str) -> str:
        """Take assigned codes only."""
        if value not in COUNTRIES:
            raise serializers.ValidationError("Not an ISO 3166-1 alpha-2 code.", code="unknown_country")
        return value


@extend_schema_serializer(component_name="Checkout")
class CheckoutSerializer(StrictSerializer):
    """A request for an order. Unknown members are refused."""

    lines = CheckoutLineSerializer(many=True, allow_empty=False, max_length=MAX_LINES, help_text="Each SKU once.")
    payment_method = PlainLineField(
        trim_whitespace=False,
        validators=[PAYMENT_METHOD],
        help_text="The payment provider's reference, such as `pm_card_visa`.",
    )
    shipping_address = AddressSerializer()
    expected_total = ExpectedTotalSerializer(
        required=False, help_text="The shop sets the prices. If its total differs, the status is 422 `price-changed`."
    )

    coordination = serializers.ChoiceField(
        choices=Coordination.values,
        required=False,
        help_text="How the participants work together; the shop's choice by default. Without a transport of events,"
        " `choreography` is refused: 422 `events-off`.",
    )

    def validate_lines(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take each SKU once."""
        seen: set[str] = set()
        repeated: dict[int, Any] = {}
        for index, line in enumerate(lines):
            if line["sku"] in seen:
                repeated[index] = {
                    "sku": [serializers.ErrorDetail("This SKU is already in an earlier line.", code="repeated_sku")]
                }
            seen.add(line["sku"])
        if repeated:
            raise serializers.ValidationError(repeated)
        return lines

    def read_request(self) -> CheckoutRequest:
        """Return what was asked, once it is valid."""
        data = self.validated_data
        expected = data.get("expected_total")
        return CheckoutRequest(
            lines=tuple(LineRequest(**line) for line in data["lines"]),
            payment_method=data["payment_method"],
            shipping_address=Address(**data["shipping_address"]),
            expected_total=Money(**expected) if expected is not None else None,
            coordination=Coordination(data.get("coordination", settings.CHECKOUT_COORDINATION)),
        )


class MoneySerializer(serializers.Serializer):
    amount_minor = serializers.IntegerField(help_text="In minor units, e.g. cents.")
    currency = serializers.CharField(help_text="ISO 4217.")


class OfferSerializer(serializers.Serializer):
    sku = serializers.CharField(source="product.sku")
    name = serializers.CharField(source="product.name")
    unit_price = serializers.SerializerMethodField()
    available = serializers.IntegerField(help_text="Units that can be ordered now.")

    def get_unit_price(self, offer: Any) -> MoneySerializer:
        """Show the price as money."""
        product = offer.product
        return MoneySerializer({"amount_minor": product.unit_price_minor, "currency": product.currency}).data


class LineSerializer(serializers.Serializer):
    sku = serializers.CharField()
    name = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = MoneySerializer()
    total = MoneySerializer()


class StepSerializer(serializers.Serializer):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in StepState])
    attempts = serializers.IntegerField(help_text="Attempts of the action and the compensation.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class SagaSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=[state.value for state in SagaState])
    steps = StepSerializer(many=True)


class OrderSerializer(serializers.Serializer):
    """An order and the progress of its checkout."""

    number = serializers.CharField()
    status = serializers.ChoiceField(choices=[status.value for status in DisplayStatus])
    reason = serializers.ChoiceField(
        choices=Reason.choices, allow_null=True, help_text="Why it was or is being cancelled, or is under review."
    )
    lines = LineSerializer(many=True)
    total = MoneySerializer()
    currency = serializers.CharField(help_text="ISO 4217.")
    coordination = serializers.ChoiceField(
        choices=Coordination.values, help_text="How the participants work together; the saga looks alike in both."
    )
    saga = SagaSerializer(allow_null=True, help_text="Null after retention has deleted the saga.")
    created_at = serializers.DateTimeField()


class InputErrorSerializer(SagaInputErrorSerializer):
    pass


class ProblemSerializer(SagaProblemSerializer):
    """A problem document (RFC 9457)."""

    errors = InputErrorSerializer(many=True, required=False)
