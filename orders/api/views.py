"""The shop's views: each parses, calls one service, and answers."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.accounts.log_in import log_in
from orders.api.waiting import wait_until_closed
from orders.requests import compute_digest
from orders.selectors import get_order, list_offers, list_orders
from orders.services import CheckoutAnswer, checkout, request_cancel
from orders.summaries import summarize
from sagas.api.entity_tags import make_entity_tag, matches_entity_tag
from sagas.api.schema import ETAG, IF_NONE_MATCH, NOT_MODIFIED

from . import headers, schema
from .pagination import OrderPagination
from .serializers import (
    CheckoutSerializer,
    LogInSerializer,
    NothingSerializer,
    OfferSerializer,
    OrderSerializer,
    TokenSerializer,
)
from .throttling import find_client_address

# What an order shows is its owner's: no shared cache keeps it, and a private one asks before it uses it.
PRIVATE = {"Cache-Control": "private, no-cache"}


class ShopView(APIView):
    """Base of all views, with the methods of the contract only, so that Allow headers are right."""

    http_method_names = ("get", "head", "post")


class TokenView(ShopView):
    """Tokens for a user name and a password."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="log_in",
        request=LogInSerializer,
        responses={200: TokenSerializer, **schema.list_problems(413, 415, 422)},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Log in."""
        serializer = LogInSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        token = log_in(address=find_client_address(request), **serializer.validated_data)
        return Response({"token": token}, headers={"Cache-Control": "no-store"})


class ProductListView(ShopView):
    """The catalogue."""

    @extend_schema(operation_id="list_products", responses={200: OfferSerializer(many=True), **schema.list_problems()})
    def get(self, request: Request) -> Response:
        """List the products that can be ordered."""
        return Response(OfferSerializer(list_offers(), many=True).data)


class CheckoutView(ShopView):
    """Checkouts."""

    throttle_scope = "checkout"

    @extend_schema(
        operation_id="checkout",
        parameters=[schema.IDEMPOTENCY_KEY, schema.PREFER, schema.LOCATION, schema.REPLAYED, schema.APPLIED],
        request=CheckoutSerializer,
        responses={202: OrderSerializer, **schema.list_problems(409, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Place an order and start its checkout; poll `Location` for its progress."""
        key = headers.read_idempotency_key(request.headers.get("Idempotency-Key"))
        serializer = CheckoutSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        answer = checkout(
            customer=request.user,
            key=key,
            digest=compute_digest(request.data),
            request=serializer.read_request(),
            traceparent=headers.read_traceparent(request.headers.get("traceparent")),
        )
        return _answer_checkout(request, answer)


class OrderListView(ShopView):
    """A customer's orders."""

    pagination_class = OrderPagination

    @extend_schema(
        operation_id="list_orders",
        parameters=[schema.CURSOR, schema.PAGE_SIZE],
        responses={200: OrderSerializer(many=True), **schema.list_problems()},
    )
    def get(self, request: Request) -> Response:
        """List your orders, newest first."""
        paginator = OrderPagination()
        page = paginator.paginate_queryset(list_orders(request.user), request, self)
        response = paginator.get_paginated_response(summarize(page))
        response["Cache-Control"] = PRIVATE["Cache-Control"]
        return response


class OrderView(ShopView):
    """One order."""

    @extend_schema(
        operation_id="get_order",
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: OrderSerializer, 304: NOT_MODIFIED, **schema.list_problems()},
    )
    def get(self, request: Request, number: str) -> Response:
        """Show an order and the progress of its checkout."""
        (summary,) = summarize([get_order(number, viewer=request.user)])
        tag = make_entity_tag(summary)
        validators = {"ETag": tag, **PRIVATE}
        if matches_entity_tag(request.headers.get("If-None-Match"), tag):
            return Response(status=304, headers=validators)
        return Response(summary, headers=validators)


class OrderCancelView(ShopView):
    """Cancel requests."""

    @extend_schema(
        operation_id="cancel_order",
        parameters=[schema.LOCATION],
        request=NothingSerializer,
        responses={202: OrderSerializer, **schema.list_problems(409, 413, 415, 422)},
    )
    def post(self, request: Request, number: str) -> Response:
        """Request the cancellation of an order; poll `Location` for the result."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        request_cancel(number=number, user=request.user)
        (summary,) = summarize([get_order(number, viewer=request.user)])
        return Response(summary, status=202, headers={"Location": _locate(number), **PRIVATE})


def _answer_checkout(request: Request, answer: CheckoutAnswer) -> Response:
    """Wait if that was asked for, and answer."""
    extra = {"Location": _locate(answer.order_number), **PRIVATE}
    body: Any = answer.body
    if answer.is_replayed:
        extra["Idempotent-Replayed"] = "true"
    else:
        seconds = headers.read_wait_seconds(request.headers.get("Prefer"))
        if seconds and wait_until_closed(answer.saga_id, seconds=seconds):
            extra["Preference-Applied"] = f"wait={seconds}"
            (body,) = summarize([get_order(answer.order_number, viewer=request.user)])
    return Response(body, status=answer.status, headers=extra)


def _locate(number: str) -> str:
    return reverse("orders:order", args=[number])
