"""Commands of docs/how-to/deploying.md: from a fresh shop in containers to an order."""

import json
import re
import shlex
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from config.local.runtime import ROOT
from orders.models import Order

PREFIX = "docker compose exec web python manage.py "
SECTION = (
    (ROOT / "docs" / "how-to" / "deploying.md").read_text().partition("## With compose\n")[2].partition("\n## ")[0]
)
CONSOLE = "\n".join(re.findall(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL))
JOINED = CONSOLE.replace("\\\n", " ")
COMMANDS = [shlex.split(line) for line in re.findall(rf"^\$ {PREFIX}(.*)$", JOINED, re.MULTILINE)]


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_fresh_shop_gets_a_user_a_product_stock_and_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "of-the-first-user")
    create, *fill, token = COMMANDS
    call_command(*create, "--noinput", "--username", "first", "--email", "a@example.com", stdout=StringIO())
    for command in fill:
        assert command[:2] == ["shell", "-c"]
        call_command("shell", command=command[2], stdout=StringIO())
    User.objects.create_user("NAME")
    call_command(*token, stdout=(printed := StringIO()))

    [(headers, body)] = re.findall(
        r"curl -X POST \S+/api/v1/checkout/ (.*?)-d '(.*?)'$", JOINED, re.MULTILINE | re.DOTALL
    )
    sent = dict(re.findall(r"-H '([^:]+): ([^']+)'", headers))
    key = printed.getvalue().split()[2]
    sent["Authorization"] = sent["Authorization"].replace("TOKEN", key)
    answer = Client().post("/api/v1/checkout/", json.loads(body), content_type=sent.pop("Content-Type"), headers=sent)

    assert [command[0] for command in COMMANDS] == ["createsuperuser", "shell", "shell", "drf_create_token"]
    assert Client().login(username="first", password="of-the-first-user")
    assert answer.status_code == 202, answer.content
    assert Order.objects.get().total_minor == 790
