"""Front server: requests before Django sees them, byte by byte on a real server."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from examples.demo.client import ShopClient
from tests.processes import Process

from .blueprints import ONE_DATABASE, Blueprints
from .shops import describe_checkout
from .wire import Wire, WireAnswer, chunked, request

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
MANY = b"x" * (2 * 1024 * 1024)
CHECKOUT = "/api/v1/checkout/"


class Server:
    """Web server and two customers."""

    def __init__(self, process: Process, customer: ShopClient, admin: ShopClient) -> None:
        self.process = process
        self.port = int(customer.url.rpartition(":")[2])
        self.token = f"Authorization: Token {customer.token}"
        self.admin_token = f"Authorization: Token {admin.token}"

    def open(self) -> Wire:
        """Open a connection."""
        return Wire(self.port)

    def ask(self, data: bytes) -> WireAnswer:
        """Send a request on its own connection."""
        with self.open() as wire:
            return wire.ask(data)


@pytest.fixture(scope="module")
def server(blueprints: Blueprints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start one web server, without workers, for all of these tests."""
    with blueprints.copy(ONE_DATABASE, "memory://", tmp_path_factory.mktemp("front")) as project:
        project = project.with_environment(LOG_IN_RATE="2/day", OPERATOR_RATE="1/day")
        process, client = project.start_web()
        yield Server(process, client.log_in("customer", "customer"), client.log_in("admin", "admin"))


def make_checkout() -> bytes:
    return json.dumps(describe_checkout("pm_card_visa")).encode()


def make_key() -> str:
    return f"Idempotency-Key: {uuid4()}"


@pytest.mark.parametrize(
    "header",
    [
        "SCRIPT_NAME: /api", "Script-Name: /api", "PATH_INFO: /admin/", "Path-Info: /admin/", "REMOTE_USER: admin",
        "X_FORWARDED_FOR: 1.2.3.4", "X-Script-Name: /api", "X-Forwarded-Prefix: /api", "X-Original-URL: /admin/",
        "X-Rewrite-URL: /admin/", "X-HTTP-Method-Override: DELETE", "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1", "X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: on",
        "Forwarded: for=1.2.3.4;host=evil.example;proto=https",
    ],
)  # fmt: skip
def test_header_of_an_undeclared_proxy_changes_nothing(server: Server, header: str) -> None:
    paths = ["/healthz", "/api/v1/nothing/", "/admin/", "/api/docs"]
    with server.open() as wire:
        plain = [wire.ask(request(path)) for path in paths]
        with_header = [wire.ask(request(path, header)) for path in paths]

    def strip(answer: WireAnswer) -> tuple[int, str, bytes]:
        return answer.status, answer.headers.get("location", ""), answer.content

    assert [strip(answer) for answer in with_header] == [strip(answer) for answer in plain]
    assert [answer.status for answer in plain] == [200, 404, 302, 301]


@pytest.mark.parametrize("header", ["SCRIPT_NAME: /api/v1", "SCRIPT_NAME: /nothing"])
def test_script_name_does_not_bypass_path_rules(server: Server, header: str) -> None:
    with server.open() as wire:
        assert wire.ask(request("/api/v1/orders/", header)).outcome == (401, "not-authenticated")
        assert wire.ask(request("/api/v1/admin/", header)).outcome == (404, "not-found")


def test_scheme_of_an_undeclared_proxy_appears_in_no_link(server: Server) -> None:
    answer = server.ask(request("/api/v1/orders/?page_size=1", server.token, "X-Forwarded-Proto: https"))

    assert answer.status == 200
    assert b"https://" not in answer.content


def test_forged_addresses_share_one_throttle(server: Server) -> None:
    body = json.dumps({"username": f"somebody-{uuid4()}", "password": "wrong"}).encode()
    outcomes = []
    with server.open() as wire:
        for address in ("1.1.1.1", "2.2.2.2", "3.3.3.3"):
            headers = [f"X-Forwarded-For: {address}", f"X-Real-IP: {address}", f"Forwarded: for={address}", JSON]
            outcomes.append(wire.ask(request("/api/v1/auth/token/", *headers, method="POST", body=body)).outcome)

    assert outcomes == [(401, "log-in-refused"), (401, "log-in-refused"), (429, "too-many-requests")]


def test_forged_address_and_id_are_not_logged(server: Server) -> None:
    mark = uuid4().hex
    made_up = [
        f"X-Request-ID: {mark}",
        f"X-Correlation-ID: {mark}",
        "X-Forwarded-For: 203.0.113.9",
        "X-Real-IP: 203.0.113.9",
    ]
    assert server.ask(request(f"/healthz?{mark[:8]}", *made_up)).status == 200

    [started] = [
        line for line in server.process.log.splitlines() if f"/healthz?{mark[:8]}" in line and "started" in line
    ]
    assert mark not in started
    assert "203.0.113.9" not in started
    assert "ip='127.0.0.1'" in started or "ip=127.0.0.1" in started


def test_absolute_target_is_reduced_to_its_path_and_its_host_ignored(server: Server) -> None:
    with server.open() as wire:
        known = wire.ask(request("http://evil.example/api/v1/orders/?page_size=1", server.token))
        unknown = wire.ask(request("https://127.0.0.1/healthz", host="evil.example"))
        method = wire.ask(request("/api/v1/products/", server.token, "X-HTTP-Method-Override: POST"))

    assert (known.status, b"evil" in known.content) == (200, False)
    assert unknown.status == 400
    assert method.status == 200


REFUSED = {
    "two hosts": (request("/healthz", "Host: 127.0.0.1"), (400, "bad-request")),
    "two different hosts": (request("/healthz", "Host: evil.example"), (400, "bad-request")),
    "folded": (request("/healthz", "X-A: 1", " folded"), (400, "bad-request")),
    "chunks and length": (request("/healthz", "Transfer-Encoding: chunked", "Content-Length: 5"), (400, "bad-request")),
    "two lengths": (request("/healthz", "Content-Length: 5", "Content-Length: 6"), (400, "bad-request")),
    "one length twice": (request("/healthz", "Content-Length: 5", "Content-Length: 5"), (400, "bad-request")),
    "signed length": (request("/healthz", "Content-Length: +5"), (400, "bad-request")),
    "negative length": (request("/healthz", "Content-Length: -5"), (400, "bad-request")),
    "no chunks": (request("/healthz", "Transfer-Encoding: gzip"), (400, "bad-request")),
    "twice chunked": (request("/healthz", "Transfer-Encoding: chunked, chunked"), (400, "bad-request")),
    "chunked, then not": (request("/healthz", CHUNKED, "Transfer-Encoding: identity"), (400, "bad-request")),
    "space before colon": (request("/healthz", "Transfer-Encoding : chunked"), (400, "bad-request")),
    "unknown coding": (request("/healthz", "Transfer-Encoding: whisper"), (501, "not-implemented")),
    "NUL": (request("/healthz", "X-A: a\x00b"), (400, "bad-request")),
    "unknown expectation": (request("/healthz", "Expect: a-miracle"), (417, "expectation-failed")),
    "long address": (request(f"/healthz?{'x' * 5000}"), (414, "uri-too-long")),
    "long header": (request("/healthz", f"X-A: {'x' * 9000}"), (431, "headers-too-large")),
    "many headers": (request("/healthz", *[f"X-{n}: 1" for n in range(200)]), (431, "headers-too-large")),
    "lower-case method": (request("/healthz", method="get"), (400, "bad-request")),
    "no version": (b"GET /healthz\r\n\r\n", (400, "bad-request")),
    "wrong version": (b"GET /healthz HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", (400, "bad-request")),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", (400, "bad-request")),
    "PROXY protocol": (b"PROXY TCP4 1.2.3.4 127.0.0.1 1 80\r\n" + request(), (400, "bad-request")),
}


@pytest.mark.parametrize(("raw", "outcome"), REFUSED.values(), ids=REFUSED)
def test_refusal_by_the_front_server_is_a_problem_and_closes_the_connection(
    server: Server, raw: bytes, outcome: tuple[int, str]
) -> None:
    with server.open() as wire:
        answer = wire.ask(raw)
        assert answer.outcome == outcome
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_chunked_body_is_read_like_one_with_a_length(server: Server) -> None:
    body = make_checkout()
    key = make_key()
    with server.open() as wire:
        first = wire.ask(
            request(CHECKOUT, server.token, key, JSON, CHUNKED, method="POST")
            + chunked(body[:7], body[7:50], body[50:])
        )
        repeated = wire.ask(request(CHECKOUT, server.token, key, JSON, method="POST", body=body))
        after = wire.ask(request())

    assert (first.status, repeated.status, repeated.headers["idempotent-replayed"]) == (202, 202, "true")
    assert json.loads(first.content)["number"] == json.loads(repeated.content)["number"]
    assert after.status == 200


@pytest.mark.parametrize(
    "path", [CHECKOUT, "/api/v1/auth/token/", "/api/v1/orders/O-NONE/cancel/", "/admin/login/", "/healthz"]
)
def test_chunked_body_beyond_the_limit_is_refused_everywhere(server: Server, path: str) -> None:
    with server.open() as wire:
        wire.send(request(path, server.token, make_key(), JSON, CHUNKED, method="POST"))
        wire.send(chunked(MANY))
        answer = wire.read_answer()
        assert answer.outcome == (413, "body-too-large")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


@pytest.mark.parametrize(
    "body", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-1\r\n\r\n", b"3;\x00\r\nabc\r\n0\r\n\r\n"]
)
def test_malformed_chunks_are_a_problem_and_close_the_connection(server: Server, body: bytes) -> None:
    with server.open() as wire:
        answer = wire.ask(request(CHECKOUT, server.token, make_key(), JSON, CHUNKED, method="POST") + body)
        assert answer.outcome == (400, "bad-request")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_empty_chunked_body_is_no_body(server: Server) -> None:
    with server.open() as wire:
        refused = wire.ask(request(CHECKOUT, server.token, make_key(), JSON, CHUNKED, method="POST") + chunked())
        after = wire.ask(request())

    assert refused.status == 422
    assert after.status == 200


@pytest.mark.parametrize(
    "coding", ["gzip", "br", "deflate", "identity, gzip", "GZIP", "x-gzip", "aes128gcm", "nonsense"]
)
@pytest.mark.parametrize(
    "path", [CHECKOUT, "/api/v1/auth/token/", "/api/v1/orders/O-NONE/cancel/", "/api/v1/sagas/bulks/", "/admin/login/"]
)
def test_encoded_body_is_refused_everywhere(server: Server, path: str, coding: str) -> None:
    headers = [server.token, make_key(), JSON, f"Content-Encoding: {coding}"]
    answer = server.ask(request(path, *headers, method="POST", body=make_checkout()))

    assert answer.outcome == (415, "unsupported-media-type")
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
def test_identity_encoding_is_accepted(server: Server, coding: str) -> None:
    headers = [server.token, make_key(), JSON, f"Content-Encoding: {coding}"]

    assert server.ask(request(CHECKOUT, *headers, method="POST", body=make_checkout())).status == 202


LARGE = {
    401: request(CHECKOUT, JSON, method="POST", body=MANY),
    403: request("/api/v1/sagas/bulks/", "TOKEN", JSON, method="POST", body=MANY),
    404: request("/api/v1/nothing/", JSON, method="POST", body=MANY),
    405: request("/healthz", method="POST", body=MANY),
    415: request(CHECKOUT, "TOKEN", "Idempotency-Key: large", "Content-Type: text/plain", method="POST", body=MANY),
}


@pytest.mark.parametrize("status", LARGE)
def test_early_response_to_a_large_body_closes_the_connection(server: Server, status: int) -> None:
    with server.open() as wire:
        answer = wire.ask(LARGE[status].replace(b"TOKEN", server.token.encode()))
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        # A request smuggled in the body gets no response.
        assert wire.is_closed()


def test_throttled_large_body_closes_the_connection(server: Server) -> None:
    path = "/api/v1/sagas/bulks/"
    first = server.ask(request(path, server.admin_token))
    with server.open() as wire:
        answer = wire.ask(request(path, server.admin_token, JSON, method="POST", body=MANY))
        assert (first.status, *answer.outcome) == (200, 429, "too-many-requests")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_response_does_not_wait_for_a_body_that_is_never_sent(server: Server) -> None:
    with server.open() as wire:
        answer = wire.ask(request(CHECKOUT, JSON, "Content-Length: 1000000", method="POST"))
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert wire.is_closed()


def test_request_smuggled_as_a_body_is_not_answered(server: Server) -> None:
    smuggled = request("/api/v1/products/", server.token)
    with server.open() as wire:
        answer = wire.ask(request(CHECKOUT, JSON, method="POST", body=smuggled))
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert wire.is_closed()


def test_too_large_body_is_refused_and_closes_the_connection_or_is_read_whole(server: Server) -> None:
    with server.open() as wire:
        answer = wire.ask(request(CHECKOUT, server.token, make_key(), JSON, method="POST", body=MANY))
        assert answer.outcome == (413, "body-too-large")
        # All of it was read, so the next request is read from its beginning.
        assert answer.headers["connection"] == "keep-alive"
        assert wire.ask(request()).status == 200


def test_refusal_of_a_completely_read_body_keeps_the_connection(server: Server) -> None:
    with server.open() as wire:
        answer = wire.ask(request(CHECKOUT, server.token, make_key(), JSON, method="POST", body=b"{}"))
        assert (answer.status, answer.headers["connection"]) == (422, "keep-alive")
        assert wire.ask(request()).status == 200


def test_client_that_expects_100_continue_receives_it(server: Server) -> None:
    body = make_checkout()
    headers = [server.token, make_key(), JSON, "Expect: 100-continue", f"Content-Length: {len(body)}"]
    with server.open() as wire:
        told = wire.ask(request(CHECKOUT, *headers, method="POST"))
        answer = wire.ask(body)
        after = wire.ask(request())

    assert (told.status, answer.status, after.status) == (100, 202, 200)


def test_http_1_0_client_gets_its_response_and_a_closed_connection(server: Server) -> None:
    with server.open() as wire:
        answer = wire.ask(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.is_closed()
