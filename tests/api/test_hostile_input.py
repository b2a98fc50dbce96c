"""Hostile input to the API: no 5xx, no traceback, no unexpected row."""

import json
import sys
from typing import Any

import pytest

from orders.models import IdempotencyRecord, Order, Product
from sagas.models import Saga, SagaBulk, SagaHistory
from sagas.operators.preconditions import Operation

from .conftest import ADDRESS, Shopper, assert_problem, list_pointers, make_checkout
from .operating import find_ids

pytestmark = pytest.mark.django_db(databases="__all__")

LINE = {"sku": "TEA-EARL-GREY", "quantity": 1}
HUGE = 10**5000


def with_line(**changes: Any) -> dict[str, Any]:
    return make_checkout(lines=[{**LINE, **changes}])


def with_address(**changes: Any) -> dict[str, Any]:
    return make_checkout(shipping_address={**ADDRESS, **changes})


def without(name: str) -> dict[str, Any]:
    body = make_checkout()
    del body[name]
    return body


def write_path(operation: Operation) -> str:
    """Write a JSON pointer in the form of an error's location."""
    return operation.value.replace("_", "-")


def dump(value: Any) -> bytes:
    """Write numbers of any length."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode()
    finally:
        sys.set_int_max_str_digits(limit)


UNACCEPTABLE: dict[str, tuple[Any, set[str]]] = {
    # Fields that the client may not set.
    "price": (with_line(unit_price=1), {"/lines/0/unit_price"}),
    "price in minor units": (with_line(unit_price_minor=1), {"/lines/0/unit_price_minor"}),
    "total": (make_checkout(total={"amount_minor": 1, "currency": "EUR"}), {"/total"}),
    "owner": (make_checkout(owner=1), {"/owner"}),
    "state": (make_checkout(status="confirmed", saga={"state": "completed"}), {"/status", "/saga"}),
    "slash in a name": (make_checkout(**{"a/b~c": 1}), {"/a~1b~0c"}),
    "unknown address member": (with_address(is_admin=True), {"/shipping_address/is_admin"}),
    # Quantities.
    "zero": (with_line(quantity=0), {"/lines/0/quantity"}),
    "negative": (with_line(quantity=-1), {"/lines/0/quantity"}),
    "too many": (with_line(quantity=101), {"/lines/0/quantity"}),
    "huge": (with_line(quantity=10**30), {"/lines/0/quantity"}),
    "5,000 digits": (with_line(quantity=HUGE), {"/lines/0/quantity"}),
    "fraction": (with_line(quantity=1.5), {"/lines/0/quantity"}),
    "whole fraction": (with_line(quantity=1.0), {"/lines/0/quantity"}),
    "boolean": (with_line(quantity=True), {"/lines/0/quantity"}),
    "text": (with_line(quantity="1"), {"/lines/0/quantity"}),
    "digits of another script": (with_line(quantity="٣"), {"/lines/0/quantity"}),
    "null": (with_line(quantity=None), {"/lines/0/quantity"}),
    "list": (with_line(quantity=[1]), {"/lines/0/quantity"}),
    "object": (with_line(quantity={"$gt": 0}), {"/lines/0/quantity"}),
    # SKUs and lines.
    "no lines": (make_checkout(lines=[]), {"/lines"}),
    "lines missing": (without("lines"), {"/lines"}),
    "lines as object": (make_checkout(lines={"0": LINE}), {"/lines"}),
    "lines as text": (make_checkout(lines="TEA-EARL-GREY"), {"/lines"}),
    "line as text": (make_checkout(lines=["TEA-EARL-GREY"]), {"/lines/0"}),
    "line null": (make_checkout(lines=[LINE, None]), {"/lines/1"}),
    "51 lines": (make_checkout(lines=[{"sku": f"SKU-{n}", "quantity": 1} for n in range(51)]), {"/lines"}),
    "SKU twice": (make_checkout(lines=[LINE, {"sku": "MUG-WHITE", "quantity": 1}, LINE]), {"/lines/2/sku"}),
    "SKU twice, one with space": (make_checkout(lines=[LINE, {**LINE, "sku": " TEA-EARL-GREY "}]), {"/lines/1/sku"}),
    "SKU number": (with_line(sku=1), {"/lines/0/sku"}),
    "SKU boolean": (with_line(sku=True), {"/lines/0/sku"}),
    "SKU empty": (with_line(sku=""), {"/lines/0/sku"}),
    "SKU long": (with_line(sku="S" * 65), {"/lines/0/sku"}),
    "SKU unknown": (with_line(sku="NO-SUCH-SKU"), {"/lines/0/sku"}),
    "SKU in lower case": (with_line(sku="tea-earl-grey"), {"/lines/0/sku"}),
    "SKU with SQL": (with_line(sku="'; DROP TABLE orders_order; --"), {"/lines/0/sku"}),
    "SKU with template": (with_line(sku="{{7*7}}{% debug %}"), {"/lines/0/sku"}),
    # Text that cannot be stored.
    "NUL in a value": (with_address(name="A\x00da"), {"/shipping_address/name"}),
    "NUL in a name": (with_address(**{"n\x00": "x"}), {"/shipping_address"}),
    "lone surrogate": (with_address(name="\ud800"), {"/shipping_address/name"}),
    "surrogates in the wrong order": (with_address(name="\udc00\ud800"), {"/shipping_address/name"}),
    "lone surrogate in a SKU": (with_line(sku="\udfff"), {"/lines/0/sku"}),
    "line break": (with_address(line1="Tea Lane\r\nX-Header: 1"), {"/shipping_address/line1"}),
    "escape sequence": (with_address(city="\x1b[31mBath"), {"/shipping_address/city"}),
    # Payment method and address.
    "method missing": (without("payment_method"), {"/payment_method"}),
    "method null": (make_checkout(payment_method=None), {"/payment_method"}),
    "method number": (make_checkout(payment_method=4242424242424242), {"/payment_method"}),
    "card number": (make_checkout(payment_method="4242424242424242"), {"/payment_method"}),
    "method with line end": (make_checkout(payment_method="pm_card_visa\n\n"), {"/payment_method"}),
    "method long": (make_checkout(payment_method="pm_" + "x" * 61), {"/payment_method"}),
    "address missing": (without("shipping_address"), {"/shipping_address"}),
    "address as text": (make_checkout(shipping_address="Tea Lane"), {"/shipping_address"}),
    "address as list": (make_checkout(shipping_address=[ADDRESS]), {"/shipping_address"}),
    "country unknown": (with_address(country="XX"), {"/shipping_address/country"}),
    "country lower case": (with_address(country="gb"), {"/shipping_address/country"}),
    "country of three": (with_address(country="GBR"), {"/shipping_address/country"}),
    "country of another script": (with_address(country="\uff27\uff22"), {"/shipping_address/country"}),
    "name blank": (with_address(name="   "), {"/shipping_address/name"}),
    "name long": (with_address(name="x" * 101), {"/shipping_address/name"}),
    "name null": (with_address(name=None), {"/shipping_address/name"}),
    "line2 null": (with_address(line2=None), {"/shipping_address/line2"}),
    # Expected total.
    "total as number": (make_checkout(expected_total=2530), {"/expected_total"}),
    "total null": (make_checkout(expected_total=None), {"/expected_total"}),
    "total without currency": (make_checkout(expected_total={"amount_minor": 1}), {"/expected_total/currency"}),
    "total as fraction": (
        make_checkout(expected_total={"amount_minor": 25.3, "currency": "EUR"}),
        {"/expected_total/amount_minor"},
    ),
    "total huge": (
        make_checkout(expected_total={"amount_minor": 2**53, "currency": "EUR"}),
        {"/expected_total/amount_minor"},
    ),
    "total of a strange currency": (
        make_checkout(expected_total={"amount_minor": 1, "currency": "eur"}),
        {"/expected_total/currency"},
    ),
    # Not an object.
    "body as list": ([make_checkout()], {""}),
    "body as text": ("checkout", {""}),
    "body as number": (7, {""}),
    "body null": (None, {""}),
    "body true": (True, {""}),
    "empty object": ({}, {"/lines", "/payment_method", "/shipping_address"}),
}


@pytest.mark.parametrize(("body", "pointers"), UNACCEPTABLE.values(), ids=UNACCEPTABLE.keys())
def test_unacceptable_body_is_refused_with_pointers(customer: Shopper, body: Any, pointers: set[str]) -> None:
    problem = assert_problem(customer.checkout(dump(body)), 422, "invalid-input")

    assert list_pointers(problem) == pointers
    assert_nothing_was_stored()


ODD_JSON: dict[str, tuple[bytes, set[str]]] = {
    "name twice": (b'{"payment_method": "pm_a", "payment_method": "pm_b"}', {""}),
    "name twice inside": (b'{"shipping_address": {"name": "a", "name": "b"}}', {"/shipping_address"}),
    "name twice by escape": (b'{"lines": [], "line\\u0073": []}', {""}),
    "1e400": (b'{"lines": 1e400}', {"/lines"}),
    "-1e400": (b'{"lines": [-1e400]}', {"/lines/0"}),
}


@pytest.mark.parametrize(("raw", "pointers"), ODD_JSON.values(), ids=ODD_JSON.keys())
def test_ambiguous_json_is_refused(customer: Shopper, raw: bytes, pointers: set[str]) -> None:
    problem = assert_problem(customer.checkout(raw), 422, "invalid-input")

    assert list_pointers(problem) == pointers
    assert_nothing_was_stored()


MALFORMED: dict[str, bytes] = {
    "not JSON": b"lines=1",
    "cut off": b'{"lines": [',
    "single quotes": b"{'lines': []}",
    "comment": b"{} // no",
    "two values": b"{}{}",
    "NaN": b'{"lines": NaN}',
    "Infinity": b'{"lines": Infinity}',
    "-Infinity": b'{"lines": [-Infinity]}',
    "invalid UTF-8": b'{"lines": "\xff\xfe"}',
    "overlong UTF-8": b'{"lines": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"lines": "\xed\xa0\x80"}',
    "UTF-16": '{"lines": []}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "raw control character": b'{"lines": "\x01"}',
    "NUL byte": b"\x00",
    "leading zero": b'{"lines": 01}',
    "deep lists": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and cut off": b"[" * 60_000,
    "17 levels": b"[" * 17 + b"]" * 17,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json_is_refused(customer: Shopper, raw: bytes) -> None:
    assert_problem(customer.checkout(raw), 400, "malformed-json")
    assert_nothing_was_stored()


def test_too_large_body_is_refused(customer: Shopper) -> None:
    assert_problem(customer.checkout(b'"' + b"x" * 65_536 + b'"'), 413, "body-too-large")
    assert_problem(customer.checkout(b" " * 8_000_000 + b"{}", key="key-2"), 413, "body-too-large")
    assert_nothing_was_stored()


def test_response_to_many_unknown_members_lists_few_errors(customer: Shopper) -> None:
    body = {f"m{number}": number for number in range(4000)}

    problem = assert_problem(customer.checkout(body), 422, "invalid-input")

    assert len(problem["errors"]) == 20


def test_hundred_thousand_members_are_too_many(customer: Shopper) -> None:
    body = {f"m{number}": number for number in range(100_000)}

    assert_problem(customer.checkout(body), 413, "body-too-large")
    assert_nothing_was_stored()


# Every URL that takes a body, and what a request needs to get there; ``{}``: an existing order, saga or bulk.
WRITING = {
    "log-in": "/api/v1/auth/token/",
    "checkout": "/api/v1/checkout/",
    "cancel": "/api/v1/orders/{order}/cancel/",
    **{f"saga: {name}": f"/api/v1/sagas/{{saga_id}}/actions/{name}/" for name in map(write_path, Operation)},
    "bulk: draw": "/api/v1/sagas/bulks/",
    "bulk: start": "/api/v1/sagas/bulks/{bulk_id}/start/",
    "bulk: stop": "/api/v1/sagas/bulks/{bulk_id}/stop/",
}
BAD_JSON: dict[str, bytes] = {
    **MALFORMED,
    **{name: raw for name, (raw, _) in ODD_JSON.items()},
    "NUL in a value": b'{"reason": "a\\u0000b", "username": "a\\u0000b", "payment_method": "a\\u0000b"}',
    "NUL in a name": b'{"a\\u0000b": 1}',
    "lone surrogate in a value": b'{"reason": "\\ud800", "username": "\\ud800", "payment_method": "\\udfff"}',
    "lone surrogate in a name": b'{"\\ud800": 1}',
    "huge number": b'{"revision": ' + b"9" * 5_000 + b', "count": ' + b"9" * 5_000 + b"}",
    "list": b"[]",
    "100,000 members": dump({f"m{number}": number for number in range(100_000)}),
}


@pytest.mark.parametrize("path", WRITING.values(), ids=WRITING.keys())
def test_no_url_accepts_invalid_json(almighty: Shopper, path: str) -> None:
    number = almighty.checkout(key="prepared").json()["number"]
    url = path.format(order=number, **find_ids(almighty, number))
    before = read_rows()

    for name, raw in BAD_JSON.items():
        answer = almighty.post(url, raw, **{"Idempotency-Key": name.replace(" ", "-")})
        assert answer.status_code in {400, 413, 422}, (name, answer.status_code, answer.content)
        assert answer["Content-Type"] == "application/problem+json"
        assert "Traceback" not in answer.content.decode()

    assert read_rows() == before


def read_rows() -> list[Any]:
    """Return everything that a body could have changed."""
    return [
        list(model.objects.order_by("pk").values()) for model in (Order, Saga, SagaHistory, SagaBulk, IdempotencyRecord)
    ]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
     "text/json", "application/vnd.api+json", "nonsense"],
)  # fmt: skip
def test_other_content_types_are_refused(customer: Shopper, content_type: str) -> None:
    response = customer.checkout(content_type=content_type)

    assert_problem(response, 415, "unsupported-media-type")
    assert_nothing_was_stored()


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "'; DROP TABLE x; --", "{{ 7*7 }}", "%s %d", "🫖 茶 عربي"]
)
def test_text_is_stored_unchanged(customer: Shopper, text: str) -> None:
    assert customer.checkout(with_address(name=text, line1=text)).status_code == 202

    order = Order.objects.get()
    assert (order.ship_to_name, order.ship_to_line1) == (text, text)


def test_largest_order_is_accepted(customer: Shopper) -> None:
    for number in range(50):
        Product.objects.create(sku=f"BIG-{number}", name="Big", unit_price_minor=10**12, currency="EUR")
    lines = [{"sku": f"BIG-{number}", "quantity": 100} for number in range(50)]

    body = customer.checkout(make_checkout(lines=lines)).json()

    assert body["total"] == {"amount_minor": 5 * 10**15, "currency": "EUR"}


@pytest.mark.parametrize(
    "number", ["ORD-%00", "ORD-'--", "../admin", "ORD-" + "A" * 12 + "%0A", "1", "ord-aaaaaaaaaaaa"]
)
def test_invalid_order_numbers_are_not_found(customer: Shopper, number: str) -> None:
    assert_problem(customer.get(f"/api/v1/orders/{number}/"), 404, "not-found")
    assert_problem(customer.post(f"/api/v1/orders/{number}/cancel/"), 404, "not-found")


@pytest.mark.parametrize(
    "query",
    ["cursor=x", "cursor=%00", "cursor=cD0nOw%3D%3D", "cursor=cD0xZTk%3D", "cursor=" + "A" * 5000, "cursor=cD3Zow==",
     "cursor=cD05OTk5OTk5OTk5OTk5OTk5OTk5OQ%3D%3D", "cursor=%C3%A9", "page_size=0", "page_size=-1", "page_size=101",
     "page_size=x", "page_size=1e1", "page_size=%D9%A3", "page_size=" + "9" * 5000, "page_size=", "ordering=owner",
     "owner=1", "status=confirmed", "format=xml"],
)  # fmt: skip
def test_unknown_parameters_are_refused(customer: Shopper, query: str) -> None:
    assert_problem(customer.get(f"/api/v1/orders/?{query}"), 400, "bad-parameter")


def assert_nothing_was_stored() -> None:
    assert not Order.objects.exists()
    assert not Saga.objects.exists()
    assert not IdempotencyRecord.objects.exists()
