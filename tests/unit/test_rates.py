"""Rates: parsed in one place; an invalid one stops the start and fails ``manage.py check``."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from rest_framework.throttling import SimpleRateThrottle

from config.reading import read_number, read_rate
from orders.accounts.throttles import Allowance, spend
from orders.checks import VARIABLES, check_rates
from orders.rates import Rate, parse_rate

from .test_settings import NEEDED, load_settings

READ = {
    "60/minute": (60, 60), "60/min": (60, 60), "60/m": (60, 60), "60/mins": (60, 60), "60/minutes": (60, 60),
    "5/s": (5, 1), "5/sec": (5, 1), "5/secs": (5, 1), "5/second": (5, 1), "5/seconds": (5, 1), "60/h": (60, 3600),
    "60/hr": (60, 3600), "60/hrs": (60, 3600), "60/hour": (60, 3600), "60/hours": (60, 3600), "1/d": (1, 86400),
    "1/day": (1, 86400), "1/days": (1, 86400), "007/day": (7, 86400), "1000000/minute": (1_000_000, 60),
    "1000000/second": (1_000_000, 1), "86400000000/day": (86_400_000_000, 86400),
}  # fmt: skip
NOT_A_RATE = [
    "", " ", "60", "/minute", "60/", "60/month", "60/M", "60/Minute", "-1/minute", "+1/minute", "1.5/minute",
    "1e3/minute", "60 /minute", "60/ minute", " 60/minute", "60/minute ", "60/minute\n", "60/minute/s", "60/5m",
    "60/mxyz", "1_000/minute", "1,000/minute", "\u0666\u0660/minute", "\uff16\uff10/minute", "60/\uff4dinute",
    "sixty/minute", "0x3c/minute", "60\x00/minute",
]  # fmt: skip
TOO_MANY = ["1000001/second", "60000001/m", "86400000001/day", f"{'9' * 5000}/day"]


@pytest.mark.parametrize("text", READ)
def test_rate_is_parsed(text: str) -> None:
    count, period_seconds = READ[text]
    assert parse_rate(text) == Rate(count=count, period_seconds=period_seconds)


@pytest.mark.parametrize("text", [text for text in READ if len(text) < 12])
def test_rest_framework_parses_the_same(text: str) -> None:
    assert SimpleRateThrottle.parse_rate(None, text) == READ[text]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", NOT_A_RATE)
def test_anything_else_is_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate\. Write a whole number, a slash") as caught:
        parse_rate(text)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["0/minute", "0/s", "000/day"])
def test_rate_that_would_refuse_everything_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^'{text}' would refuse everything"):
        parse_rate(text)


@pytest.mark.parametrize("text", TOO_MANY)
def test_rate_above_clock_resolution_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="exceeds the maximum, 1000000/second: time is measured in microsec"):
        parse_rate(text)


@pytest.mark.parametrize("missing", [None, 60, ("60", "minute"), b"60/minute"])
def test_rate_must_be_a_string(missing: object) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(missing)


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_start_fails_with_an_invalid_rate_and_names_it(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{variable}: '60/fortnight' is not a rate\. Write a whole"):
        load_settings(monkeypatch, **NEEDED, **{variable: "60/fortnight"})


@pytest.mark.parametrize(("scope", "variable"), VARIABLES.items())
def test_check_finds_an_invalid_rate_in_any_settings(settings: Any, scope: str, variable: str) -> None:
    rates = {**settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"], scope: "0/minute"}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}

    [error] = [message for message in run_checks() if message.id == "orders.E001"]

    assert error.is_serious()
    assert error.msg.startswith(f"REST_FRAMEWORK['DEFAULT_THROTTLE_RATES'][{scope!r}]: '0/minute' would refuse")
    assert error.hint == f"This project reads it from the environment variable {variable}."


def test_check_finds_a_missing_rate(settings: Any) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {}}

    assert [message.id for message in check_rates(None)] == ["orders.E001"] * len(VARIABLES)


def test_every_rate_of_the_settings_is_checked(settings: Any) -> None:
    assert set(settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]) == set(VARIABLES)
    assert check_rates(None) == []


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["1000000/minute", "1000000/second", "86400000000/day", "1/day"])
def test_extreme_rate_is_counted(text: str) -> None:
    allowance = Allowance(scope="test", subject=text, rate=parse_rate(text))
    spend(allowance)

    assert allowance.parameters["step"] == pytest.approx(allowance.rate.period_seconds / allowance.rate.count)


@pytest.mark.parametrize("text", ["", " 1", "-1", "1.5", "1e3", "٣", "x", "9999999999"])
def test_invalid_number_is_named(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^NUM_PROXIES is .*\. Write a whole number of at least 0\.$"):
        read_number("NUM_PROXIES", text)


def test_number_below_its_minimum_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^WEB_THREADS is '0'\. Write a whole number of at least 1\.$"):
        read_number("WEB_THREADS", "0", at_least=1)
    assert read_number("WEB_THREADS", "12", at_least=1) == 12
    assert read_rate("CHECKOUT_RATE", "60/min") == "60/min"
