"""Order numbers that can be read out on the phone but not guessed."""

import secrets

# Crockford's base 32: without I, L, O and U nothing is misread, and no word comes out.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# 60 random bits: a guess hits one of a million orders once in 10^12.
LENGTH = 12
NUMBER_PATTERN = r"ORD-[0-9A-HJKMNP-TV-Z]{12}"


def generate_order_number() -> str:
    """Return a new random order number."""
    return "ORD-" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
