"""Limits on decompression: kombu (5.7) unpacks a message in a worker's main process, before any check can see it.

A megabyte can unpack to a gigabyte. Legitimate messages of any task stay far below both limits.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from kombu import compression
from kombu.utils.encoding import ensure_bytes

FREE_BYTES = 16 * 1024 * 1024  # a message may always unpack to this size
RATIO_MAX = 100  # of larger messages; JSON and pickles reach 5 to 20, zeros in gzip 1000

# By kombu's names. Brotli and Zstandard exist only if a project installs them; they are not limited.
UNPACKERS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


class UnpacksTooLarge(ValueError):
    """A message would fill the memory of its worker."""


def limit_decompression() -> None:
    """Limit the unpacked size of messages of every task, in this process and its forks."""
    known = set(compression.encoders())
    for content_type, unpacker in UNPACKERS.items():
        if content_type in known:
            encode, _ = compression.get_encoder(content_type)
            compression.register(encode, _bounded(unpacker), content_type)


def _bounded(unpacker: Callable[[], Any]) -> Callable[[Any], bytes]:
    def unpack(packed: Any) -> bytes:
        data = ensure_bytes(packed)
        limit = max(FREE_BYTES, RATIO_MAX * len(data))
        machine = unpacker()
        unpacked: bytes = machine.decompress(data, limit + 1)
        if len(unpacked) > limit:
            raise UnpacksTooLarge(f"A message of {len(data)} bytes unpacks to more than {limit} bytes.")
        if not machine.eof:
            raise ValueError("The compressed body of a message is incomplete.")
        return unpacked

    return unpack
