"""Give an access token for a user name and a password, and slow down who guesses."""

import ipaddress
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth import authenticate
from rest_framework.authtoken.models import Token
from rest_framework.settings import api_settings

from ..exceptions import LogInRefused
from ..rates import parse_rate
from .throttles import Allowance, give_back, spend


def log_in(*, username: str, password: str, address: str) -> str:
    """Return the user's token.

    Raises: LogInRefused, AllowanceSpent.
    Tx: must not be inside one.
    """
    with count_try(username, address):
        user = authenticate(username=username, password=password)
        if user is None:
            raise LogInRefused
    token, _ = Token.objects.get_or_create(user=user)
    return token.key


@contextmanager
def count_try(username: str, address: str) -> Iterator[None]:
    """Count a try before the password is checked inside, so that guesses side by side are all counted.

    It is given back unless the check raises.
    Raises: AllowanceSpent.
    Tx: must not be inside one.
    """
    allowances = list_allowances(username, address)
    for allowance in allowances:
        spend(allowance)
    yield
    give_back(allowances)


def list_allowances(username: str, address: str) -> list[Allowance]:
    """Return what one try costs: of the account from this address, of the account, of the address.

    The first stops the usual guesser and leaves the owner alone; the second stops one who has many addresses; the
    third one who tries many accounts.
    """
    account, network = _fold_account(username), _fold_address(address)
    subjects = {
        "log-in": f"{account}\n{network}",
        "log-in-account": account,
        "log-in-address": network,
    }
    allowances = []
    for scope, subject in subjects.items():
        rate = parse_rate(api_settings.DEFAULT_THROTTLE_RATES[scope])
        allowances.append(Allowance(scope=scope, subject=subject, rate=rate))
    return allowances


def _fold_account(username: str) -> str:
    """Write all spellings of one name alike, so that a change of case does not start a new count."""
    return unicodedata.normalize("NFKC", username).casefold().strip()


def _fold_address(address: str) -> str:
    """Count a whole IPv6 /64 as one address: one customer of a provider has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
