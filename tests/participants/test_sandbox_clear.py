import json
from io import StringIO

import pytest
from django.core.management import CommandError, ManagementUtility, call_command

from payments.models import SandboxAuthorization

from .money import KEY, authorize_with

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("sandbox_clear", *arguments, stdout=output)
    return output.getvalue()


def test_command_clears_the_failure_and_may_be_repeated() -> None:
    authorize_with("pm_card_refund_fails")

    assert run(KEY) == f"Authorisation {KEY} works again; retry the step that waited for it.\n"
    assert SandboxAuthorization.objects.get().is_failing is False
    assert run(KEY) == f"Authorisation {KEY} works again; retry the step that waited for it.\n"


def test_command_reports_when_nothing_was_failing() -> None:
    authorize_with()

    assert run(KEY) == f"Authorisation {KEY} was not failing; nothing to clear.\n"


def test_command_prints_json() -> None:
    authorize_with("pm_card_refund_fails")
    row = json.loads(run(KEY, "--json"))

    assert row.pop("failure_cleared_at") == SandboxAuthorization.objects.get().failure_cleared_at.isoformat()
    assert row == {
        "key": KEY,
        "order_number": "A-1",
        "state": "held",
        "payment_method": "pm_card_refund_fails",
        "is_failing": False,
    }


def test_unknown_key_is_an_error_with_exit_code_1() -> None:
    with pytest.raises(CommandError, match="no authorisation with the key nonsense") as caught:
        run("nonsense")
    assert caught.value.returncode == 1
    assert not SandboxAuthorization.objects.exists()


def test_wrong_usage_has_exit_code_2(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        ManagementUtility(["manage.py", "sandbox_clear"]).execute()
    assert caught.value.code == 2
    assert "key" in capsys.readouterr().err
