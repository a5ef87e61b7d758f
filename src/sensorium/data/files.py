"""Opening data files: gzip and zstandard by their ending, lines with a limit, clear errors when a file is cut short."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from sensorium.errors import DataError

MAX_LINE = 16 * 2**20  # bytes of one line of a line-based format
MAX_WHOLE = 512 * 2**20  # bytes of a file that must be parsed whole, such as a JSON list
_CHUNK = 2**20
_COMPRESSED_STEP = 2**11  # a block of 128 KiB may be 4 bytes compressed: what one step gives stays below 64 MiB

COMPRESSIONS = (".gz", ".zst")


def inner_suffix(path: Path) -> str:
    """The suffix below a compression: `.jsonl` for both `a.jsonl` and `a.jsonl.gz`."""
    return Path(path.stem if compression(path) else path.name).suffix.lower()


def compression(path: Path) -> str:
    """How a file is compressed, by its ending in any case of letters: `.gz`, `.zst`, or empty."""
    ending = path.suffix.lower()
    return ending if ending in COMPRESSIONS else ""


@contextmanager
def open_bytes(path: Path, name: str) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed where its name ends in .gz or .zst.

    Raises:
        DataError: when it is missing, unreadable, not what its ending says, or truncated. Errors met while the
            caller reads inside the block are translated too.
    """
    try:
        with path.open("rb") as raw:
            if compression(path) == ".gz":
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream  # type: ignore[misc]
            elif compression(path) == ".zst":
                yield io.BufferedReader(_Zstandard(raw), _CHUNK)
            else:
                yield raw
    except FileNotFoundError:
        raise DataError(f"{name} does not exist ({path})") from None
    except EOFError:
        raise DataError(f"{name} is truncated: the compressed stream ends early (fetch it again)") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"{name} is not a sound {path.suffix} file: {error} (fetch it again)") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from None


def skip_to(stream: IO[bytes], offset: int) -> None:
    """Move a fresh stream forward to a byte offset (of the decompressed bytes)."""
    if stream.seekable():
        stream.seek(offset)
        return
    while offset > 0:
        read = len(stream.read(min(offset, _CHUNK)))
        if not read:
            return
        offset -= read


def read_whole(path: Path, name: str) -> bytes:
    """All bytes of a file that has to be parsed whole. Raises `DataError` beyond 512 MiB."""
    with open_bytes(path, name) as stream:
        data = stream.read(MAX_WHOLE + 1)
    if len(data) > MAX_WHOLE:
        raise DataError(f"{name} exceeds {MAX_WHOLE >> 20} MiB, the limit of a file read whole (convert it to JSONL)")
    return data


def read_text(path: Path, name: str) -> str:
    """The text of a file that has to be parsed whole. Raises `DataError` when it is not UTF-8."""
    try:
        return read_whole(path, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None


class _Zstandard(io.RawIOBase):
    """A zstandard file of one or more frames; unlike the library's reader, it notices when the last one is cut."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: Any = None
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            compressed = self._raw.read(_COMPRESSED_STEP)
            if not compressed:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._left = memoryview(self._decompress(compressed))
        n = min(len(buffer), len(self._left))
        buffer[:n] = self._left[:n]
        self._left = self._left[n:]
        return n

    def _decompress(self, compressed: bytes) -> bytes:
        out = []
        while compressed:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            out.append(self._frame.decompress(compressed))
            if not self._frame.eof:
                break
            compressed = self._frame.unused_data
            self._frame = None
        return b"".join(out)
