"""Archive of deleted sagas: a file with one JSON document a line, on disk before the rows are deleted."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

PLAIN, PACKED = ".ndjson", ".ndjson.gz"


class Archive:
    """New file that documents are appended to; a context manager.

    Every batch of a compressed archive is a gzip member of its own, so the file stays readable after a killed process.
    """

    def __init__(self, path: Path) -> None:
        """Create the file, readable by its owner only.

        Raises: FileExistsError if the file exists; OSError; ValueError for another suffix.
        """
        if not is_archive_name(path.name):
            raise ValueError(f"An archive's name must end in {PLAIN} or {PACKED}, not {path.name!r}.")
        self.path = path
        self.count = 0
        """Number of documents that are on disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; remove it if nothing was written."""
        self._file.close()
        if self.count == 0:
            self.path.unlink()

    def append(self, documents: Iterable[str]) -> None:
        """Write documents and wait until they are on disk.

        Raises: OSError; the file is then truncated to its previous length, unless the disk refuses that too.
        """
        lines = [document + "\n" for document in documents]
        data = "".join(lines).encode()
        start = self._file.tell()
        try:
            self._write(gzip.compress(data, compresslevel=6, mtime=0) if self.path.name.endswith(PACKED) else data)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)
            self._file.seek(start)
            raise
        if self.count == 0:
            _sync_directory(self.path.parent)
        self.count += len(lines)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def is_archive_name(name: str) -> bool:
    """Return whether a file name has an archive's suffix and something before it."""
    return any(name.endswith(ending) and name != ending for ending in (PLAIN, PACKED))


def _sync_directory(directory: Path) -> None:
    """Sync the directory, so that the new file's name survives a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
