"""Documented settings and commands: all of the engine's, and no others."""

import re
from dataclasses import MISSING, fields
from datetime import timedelta

import pytest
from django.core.management import get_commands

from config.local.runtime import ROOT
from sagas.conf import SagaSettings
from sagas.events.settings import EventSettings

PAGE = ROOT / "docs" / "reference" / "settings.md"
NUMBER = re.compile(r"([\d.]+)(?: (s|days))?")
UNITS = {None: 1, "s": 1, "days": 86_400}


# The keys of SAGAS["EVENTS"] stand in bold.
FORMS = {SagaSettings: r"^- `([A-Z_]+)` \((.*?)\):", EventSettings: r"^- \*\*`([A-Z_]+)`\*\* \((.*?)\):"}


def read_defaults(settings: type) -> dict[str, str]:
    """Return the documented defaults of settings by name."""
    return dict(re.findall(FORMS[settings], PAGE.read_text(), re.MULTILINE))


@pytest.mark.parametrize("settings", FORMS)
def test_every_engine_setting_is_documented(settings: type) -> None:
    assert set(read_defaults(settings)) == {field.name.upper() for field in fields(settings)}


@pytest.mark.parametrize("settings", FORMS)
def test_documented_defaults_of_numbers_and_durations_are_the_real_ones(settings: type) -> None:
    documented, real = {}, {}
    defaults = read_defaults(settings)
    for field in fields(settings):
        if field.default is MISSING or type(field.default) not in {int, timedelta}:
            continue
        default = field.default.total_seconds() if isinstance(field.default, timedelta) else field.default
        real[field.name.upper()] = float(default)
        match = NUMBER.fullmatch(defaults[field.name.upper()])
        documented[field.name.upper()] = float(match[1]) * UNITS[match[2]] if match else defaults[field.name.upper()]

    assert len(real) >= 10
    assert documented == real


def test_every_engine_command_is_documented() -> None:
    commands = {name for name, app in get_commands().items() if app in {"sagas", "payments", "orders"}}
    text = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))

    assert {"saga_sweep", "sandbox_clear", "checkout_cleanup"} <= commands
    assert sorted(name for name in commands if not re.search(rf"\b{name}\b", text)) == []
