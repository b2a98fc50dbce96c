import pytest
from django.core.management import CommandError, call_command

from . import trips
from .pages import EVIDENCE, REASON, stored

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("words", ["short", " " * 20, "x" * 501, "   nine chr   "])
@pytest.mark.parametrize("name", ["reason", "evidence"])
def test_dry_run_refuses_the_texts_that_the_operation_refuses(name: str, words: str) -> None:
    saga = trips.make_held_unknown()
    before = stored(saga)
    said = {"reason": REASON, "evidence": EVIDENCE, name: words}
    call = ["saga_resolve", str(saga.pk), "--step", "pay", "--as", "refused", f"--reason={said['reason']}"]
    call.append(f"--evidence={said['evidence']}")

    with pytest.raises(CommandError) as real:
        call_command(*call)
    with pytest.raises(CommandError) as dry:
        call_command(*call, "--dry-run")

    assert (str(dry.value), dry.value.returncode) == (str(real.value), real.value.returncode)
    assert dry.value.returncode == 2
    assert stored(saga) == before
