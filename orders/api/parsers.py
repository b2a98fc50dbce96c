"""JSON bodies of customers."""

from sagas.api.parsers import StrictJSONParser


class ShopJSONParser(StrictJSONParser):
    """A strict parser with the limits of a checkout: 50 lines and a long address have about 6 kB."""

    max_bytes = 64 * 1024
    max_depth = 16
