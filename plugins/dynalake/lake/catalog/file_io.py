"""S3 as pyiceberg reads and writes it, by boto3.

A table's metadata, manifests, and lists of them are never written again, so a process reads each once (`_KEPT` bytes).

pyarrow's own S3 file system has hung in forked processes, which Airflow's tasks are:
https://github.com/apache/airflow/issues/72035, https://github.com/apache/arrow/issues/50188.
"""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from types import TracebackType
from typing import BinaryIO, cast

from cachetools import LRUCache
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from dynalake.aws.s3 import Store

_WHOLE = 8 << 20  # bytes
_KEPT = 16 << 20  # bytes
_IMMUTABLE = (".avro", ".metadata.json")


class S3FileIO(FileIO):
    """Whole objects: pyiceberg itself reads and writes only metadata, manifests and lists of manifests."""

    def __init__(self, store: Store) -> None:
        super().__init__({})
        self._store = store
        self._kept = _Kept()

    def new_input(self, location: str) -> InputFile:
        return _Input(self._store, location, self._kept if location.endswith(_IMMUTABLE) else None)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self._store, location)

    def open_data(self, location: str, size: int) -> BinaryIO:
        """Open a data file of `size` bytes: read a small file at once, a large one by the requested ranges."""
        source = _Object(self._store, location)
        return io.BytesIO(source.read()) if size <= _WHOLE else cast("BinaryIO", _Ranges(source, size))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        _Object(self._store, location if isinstance(location, str) else location.location).delete()


class CopyFileIO(S3FileIO):
    """Reads every object from the store's own bucket, whichever its address names: the one of which it is a copy."""

    def new_input(self, location: str) -> InputFile:
        return super().new_input(self._store.uri(key_of(location)))


def key_of(uri: str) -> str:
    """Return the key of `s3://{bucket}/{key}`."""
    return split_uri(uri)[1]


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://{bucket}/{key}`."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "s3a", "s3n") or not bucket or not key:
        raise ValueError(f"{uri!r} is not the address of an S3 object")
    return bucket, key


class _Object:
    def __init__(self, store: Store, location: str) -> None:
        bucket, self._key = split_uri(location)
        self._store = replace(store, bucket=bucket)
        self.written: int | None = None

    def size(self) -> int | None:
        stored = self._store.head(self._key)
        return None if stored is None else stored.size

    def read(self) -> bytes:
        stored = self._store.read(self._key)
        if stored is None:
            raise FileNotFoundError(self._store.uri(self._key))
        return stored.body

    def read_range(self, first: int, last: int) -> bytes:
        part = self._store.read_range(self._key, first, last)
        if part is None:
            raise FileNotFoundError(self._store.uri(self._key))
        return part

    def write(self, content: bytes, *, overwrite: bool) -> None:
        if overwrite:
            self._store.write(self._key, content)
        elif self._store.create(self._key, content) is None:
            # boto3 repeats a call whose answer was lost: the object there may be our own.
            there = self._store.read(self._key)
            if there is None or there.body != content:
                raise FileExistsError(self._store.uri(self._key))
        self.written = len(content)

    def delete(self) -> None:
        self._store.delete(self._key)


class _Ranges(io.RawIOBase):
    """An object as a file that reads only the requested ranges."""

    def __init__(self, source: _Object, size: int) -> None:
        super().__init__()
        self._source, self._size, self._at = source, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        part = self._source.read_range(self._at, end - 1)
        self._at += len(part)
        return part


class _Kept:
    """The bytes of the objects that were read last."""

    def __init__(self) -> None:
        self._bodies: LRUCache[str, bytes] = LRUCache(_KEPT, getsizeof=len)
        self._turn = threading.Lock()

    def read(self, source: _Object, location: str) -> bytes:
        with self._turn:
            body = self._bodies.get(location)
        if body is None:
            body = source.read()
            with self._turn:
                if len(body) <= _KEPT:
                    self._bodies[location] = body
        return body


class _Input(InputFile):
    def __init__(self, store: Store, location: str, kept: _Kept | None = None) -> None:
        super().__init__(location)
        self._object, self._kept = _Object(store, location), kept

    def __len__(self) -> int:
        size = self._object.size()
        if size is None:
            raise FileNotFoundError(self.location)
        return size

    def exists(self) -> bool:
        return self._object.size() is not None

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(self._object.read() if self._kept is None else self._kept.read(self._object, self.location))


class _Output(OutputFile):
    def __init__(self, store: Store, location: str) -> None:
        super().__init__(location)
        self._store = store
        self._object = _Object(store, location)

    def __len__(self) -> int:
        return len(self.to_input_file()) if self._object.written is None else self._object.written

    def exists(self) -> bool:
        return self._object.size() is not None

    def to_input_file(self) -> InputFile:
        return _Input(self._store, self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        return _Writer(self._object, overwrite)


class _Writer(io.BytesIO):
    """Becomes the object when it is closed, unless an error closes it."""

    def __init__(self, target: _Object, overwrite: bool) -> None:
        super().__init__()
        self._target, self._overwrite = target, overwrite

    def close(self) -> None:
        if not self.closed:
            self._target.write(self.getvalue(), overwrite=self._overwrite)
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            super().close()
        self.close()
