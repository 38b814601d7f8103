"""S3 as pyiceberg reads and writes it, by boto3.

pyarrow's own S3 file system has hung in forked processes, which Airflow's tasks are:
https://github.com/apache/airflow/issues/72035, https://github.com/apache/arrow/issues/50188.
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import ClientError
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("404", "NoSuchKey", "NotFound")

_WHOLE = 8 << 20  # bytes


class S3FileIO(FileIO):
    """Whole objects: pyiceberg itself reads and writes only metadata, manifests and lists of manifests."""

    def __init__(self, s3: S3Client) -> None:
        super().__init__({})
        self._s3 = s3

    def new_input(self, location: str) -> InputFile:
        return _Input(self._s3, location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self._s3, location)

    def open_data(self, location: str, size: int) -> BinaryIO:
        """Open a data file of `size` bytes: read a small file at once, a large one by the requested ranges."""
        source = _Object(self._s3, location)
        return io.BytesIO(source.read()) if size <= _WHOLE else cast("BinaryIO", _Ranges(source, size))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        bucket, key = split_uri(location if isinstance(location, str) else location.location)
        self._s3.delete_object(Bucket=bucket, Key=key)


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://{bucket}/{key}`."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "s3a", "s3n") or not bucket or not key:
        raise ValueError(f"{uri!r} is not the address of an S3 object")
    return bucket, key


class _Object:
    def __init__(self, s3: S3Client, location: str) -> None:
        self._s3 = s3
        self._bucket, self._key = split_uri(location)
        self.written: int | None = None

    def size(self) -> int | None:
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=self._key)["ContentLength"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise

    def read(self, first: int = 0, last: int | None = None) -> bytes:
        """Return all bytes, or those from `first` to `last`, both included."""
        span: Any = {} if last is None else {"Range": f"bytes={first}-{last}"}
        try:
            with self._s3.get_object(Bucket=self._bucket, Key=self._key, **span)["Body"] as body:
                return body.read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                raise FileNotFoundError(f"s3://{self._bucket}/{self._key}") from error
            raise

    def write(self, content: bytes, *, overwrite: bool) -> None:
        absent: Any = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=content, **absent)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "412"):
                raise
            # boto3 repeats a call whose answer was lost: the object there may be our own.
            if self.read() != content:
                raise FileExistsError(f"s3://{self._bucket}/{self._key}") from error
        self.written = len(content)


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
        part = self._source.read(self._at, end - 1)
        self._at += len(part)
        return part


class _Input(InputFile):
    def __init__(self, s3: S3Client, location: str) -> None:
        super().__init__(location)
        self._object = _Object(s3, location)

    def __len__(self) -> int:
        size = self._object.size()
        if size is None:
            raise FileNotFoundError(self.location)
        return size

    def exists(self) -> bool:
        return self._object.size() is not None

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(self._object.read())


class _Output(OutputFile):
    def __init__(self, s3: S3Client, location: str) -> None:
        super().__init__(location)
        self._s3 = s3
        self._object = _Object(s3, location)

    def __len__(self) -> int:
        return len(self.to_input_file()) if self._object.written is None else self._object.written

    def exists(self) -> bool:
        return self._object.size() is not None

    def to_input_file(self) -> InputFile:
        return _Input(self._s3, self.location)

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
