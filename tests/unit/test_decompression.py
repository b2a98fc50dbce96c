"""Decompression of messages: limited in size."""

from collections.abc import Iterator

import pytest
from kombu import compression

from sagas.worker.decompression import FREE_BYTES, RATIO_MAX, UnpacksTooLarge, limit_decompression

METHODS = ("gzip", "bzip2", "lzma")


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    """Install the limit for one test."""
    before = dict(compression._decoders)
    limit_decompression()
    yield
    compression._decoders.clear()
    compression._decoders.update(before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 1, 1000, FREE_BYTES])
def test_content_within_the_limit_is_decompressed(method: str, size: int) -> None:
    packed, content_type = compression.compress(b"0" * size, method)

    assert compression.decompress(packed, content_type) == b"0" * size


@pytest.mark.parametrize("method", METHODS)
def test_content_beyond_both_limits_is_refused(method: str) -> None:
    packed, content_type = compression.compress(b"0" * (FREE_BYTES + 1), method)
    assert len(packed) * RATIO_MAX < FREE_BYTES

    with pytest.raises(UnpacksTooLarge):
        compression.decompress(packed, content_type)


@pytest.mark.parametrize("method", METHODS)
def test_truncated_content_is_refused(method: str) -> None:
    packed, content_type = compression.compress(b"0123456789" * 100, method)

    with pytest.raises((ValueError, EOFError)):
        compression.decompress(packed[:-5], content_type)
