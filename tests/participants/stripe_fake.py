"""Fake of the few requests that the adapter sends to Stripe, on 127.0.0.1, with real idempotency keys.

Payment methods: ``pm_card_visa`` works, ``pm_card_declined`` is declined, any other is unknown.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit

API_KEY = "sk_test_fake"


class Refusal(Exception):
    """Error response in Stripe's format."""

    def __init__(self, status: int, kind: str, code: str = "", param: str = "") -> None:
        self.status = status
        self.body = {"error": {"type": kind, "code": code or None, "param": param or None, "message": "Refused."}}
        super().__init__(kind)


class FakeStripe:
    """In-memory state of Stripe."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.intents: dict[str, dict] = {}
        self.refunds: list[dict] = []
        self.answers: dict[str, tuple[dict, int, dict]] = {}
        self.requests: list[str] = []
        self.answers_to_lose = 0
        self.refuse_with: Refusal | None = None
        self.off_by = 0

    def answer(self, method: str, path: str, form: dict[str, str], key: str, api_key: str) -> tuple[int, dict]:
        """Answer one request; a repeated key gets its first answer, or an error if the request differs."""
        self.requests.append(f"{method} {path}")
        if api_key != API_KEY:
            return 401, Refusal(401, "invalid_request_error").body
        if self.refuse_with is not None:
            return self.refuse_with.status, self.refuse_with.body
        request = {"path": path, **form}
        if key in self.answers:
            first, status, body = self.answers[key]
            if first != request:
                return 400, Refusal(400, "idempotency_error").body
            return status, body
        try:
            status, body = 200, self.act(method, path, form)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
        if key:
            self.answers[key] = (request, status, body)
        return status, body

    def act(self, method: str, path: str, form: dict[str, str]) -> dict:
        match (method, *path.strip("/").split("/")[1:]):
            case ("POST", "payment_intents"):
                return self.create_intent(form)
            case ("GET", "payment_intents", "search"):
                found = [intent for intent in self.intents.values() if self.is_asked_for(intent, form["query"])]
                return {"object": "search_result", "data": found, "has_more": False, "url": path}
            case ("GET", "payment_intents", intent_id):
                return self.intents[intent_id]
            case ("POST", "payment_intents", intent_id, "capture"):
                intent = self.move(intent_id, {"requires_capture"}, "succeeded")
                intent["amount_received"] = intent["amount"] + self.off_by
                intent["metadata"]["capture_key"] = form["metadata[capture_key]"]
                return intent
            case ("POST", "payment_intents", intent_id, "cancel"):
                return self.move(intent_id, {"requires_capture", "requires_payment_method"}, "canceled")
            case ("POST", "refunds"):
                return self.create_refund(form)
        raise Refusal(404, "invalid_request_error", "resource_missing", "path")

    def create_intent(self, form: dict[str, str]) -> dict:
        method = form.get("payment_method")
        if method not in {None, "pm_card_visa", "pm_card_declined"}:
            raise Refusal(400, "invalid_request_error", "resource_missing", "payment_method")
        if method == "pm_card_declined":
            raise Refusal(402, "card_error", "card_declined")
        intent_id = f"pi_{len(self.intents) + 1}"
        metadata = {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}
        self.intents[intent_id] = {
            "id": intent_id,
            "object": "payment_intent",
            "amount": int(form["amount"]) + self.off_by,
            "amount_received": 0,
            "currency": form["currency"],
            "status": "requires_capture" if form.get("confirm") == "true" else "requires_payment_method",
            "metadata": metadata,
        }
        return self.intents[intent_id]

    def create_refund(self, form: dict[str, str]) -> dict:
        intent = self.intents[form["payment_intent"]]
        given_back = sum(row["amount"] for row in self.refunds if row["payment_intent"] == intent["id"])
        if intent["status"] != "succeeded":
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        if given_back + int(form["amount"]) > intent["amount"]:
            raise Refusal(400, "invalid_request_error", "charge_already_refunded")
        refund = {
            "id": f"re_{len(self.refunds) + 1}",
            "object": "refund",
            "status": "succeeded",
            "payment_intent": intent["id"],
            "amount": int(form["amount"]) + self.off_by,
            "currency": intent["currency"],
        }
        self.refunds.append(refund)
        return refund

    def move(self, intent_id: str, before: set[str], after: str) -> dict:
        intent = self.intents[intent_id]
        if intent["status"] not in before:
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        intent["status"] = after
        return intent

    @staticmethod
    def is_asked_for(intent: dict, query: str) -> bool:
        return any(f'metadata["{name}"]:"{value}"' in query for name, value in intent["metadata"].items())


@contextmanager
def serve_stripe() -> Iterator[tuple[FakeStripe, str]]:
    """Serve a new fake on a free port; yields its state and the base address."""
    books = FakeStripe()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.serve()

        def do_POST(self) -> None:
            self.serve()

        def serve(self) -> None:
            url = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode() or url.query
            form = {name: values[0] for name, values in parse_qs(text).items()}
            key = self.headers.get("Idempotency-Key", "") if self.command == "POST" else ""
            api_key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with books.lock:
                status, body = books.answer(self.command, url.path, form, key, api_key)
                is_lost = books.answers_to_lose > 0
                books.answers_to_lose -= is_lost
            if is_lost:
                self.close_connection = True
                return
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing, so that the test's output stays clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield books, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
