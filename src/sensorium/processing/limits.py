"""The bytes of a picture or recording, wherever they are, measured before they are read."""

from __future__ import annotations

import base64
import binascii
import io
import stat
import urllib.parse
from pathlib import Path
from typing import BinaryIO

from sensorium.errors import DataError
from sensorium.messages import Audio, Image

_SHOWN = 80


def named(part: Image | Audio) -> str:
    """What to call a part in an error: its file, its address, or the size of its data."""
    kind = type(part).__name__.lower()
    if part.path is not None:
        return str(part.path)
    if part.url is not None:
        return f"{kind} {part.url[:_SHOWN]}"
    return f"{kind} of {len(part.data or b'')} bytes"


def open_media(part: Image | Audio, max_bytes: int) -> BinaryIO:
    """Open the encoded bytes of a part: its data, its file, or a `data:` address.

    Raises:
        DataError: when there is no such file, it is empty or larger than `max_bytes`, it is no plain file (a pipe
            would wait for ever), or the part is an address to be fetched first.
    """
    if part.data is not None:
        _check_size(len(part.data), max_bytes, named(part))
        return io.BytesIO(part.data)
    if part.url is not None:
        data = _from_url(part.url, max_bytes, named(part))
        _check_size(len(data), max_bytes, named(part))
        return io.BytesIO(data)
    assert part.path is not None
    return _open_file(part.path, max_bytes)


def _open_file(path: Path, max_bytes: int) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a plain file")
        _check_size(status.st_size, max_bytes, str(path))
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise DataError(f"{str(path)!r:.200} cannot be read: {error}") from None


def _from_url(url: str, max_bytes: int, name: str) -> bytes:
    if url[:5].lower() != "data:":
        raise DataError(f"{name} is an address: fetch it first, and give the file's path or data")
    header, comma, body = url.partition(",")
    if not comma:
        raise DataError(f"{name} is no data address: it has no comma before its data")
    _check_size(len(body) * 3 // 4, max_bytes, name)
    if not header.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(body)
    try:
        return base64.b64decode(urllib.parse.unquote_to_bytes(body), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name} is not base64: {error}") from None


def _check_size(size: int, max_bytes: int, name: str) -> None:
    if size == 0:
        raise DataError(f"{name} is empty")
    if size > max_bytes:
        raise DataError(f"{name} has {size} bytes, more than {max_bytes} (set max_bytes)")
