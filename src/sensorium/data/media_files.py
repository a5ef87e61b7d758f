"""Pictures and recordings as data sets name them: by the ending of a file, by path, by address, or inline."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from sensorium.errors import DataError
from sensorium.messages import Audio, Image

MediaPart: TypeAlias = Image | Audio
MediaKind: TypeAlias = Literal["image", "audio"]

_ENDINGS: dict[MediaKind, str] = {
    "image": "jpg jpeg png webp gif bmp tif tiff ppm pgm pnm",
    "audio": "wav flac ogg oga opus mp3",
}
_KIND_BY_ENDING: dict[str, MediaKind] = {
    f".{ending}": kind for kind, endings in _ENDINGS.items() for ending in endings.split()
}
_PARTS: dict[MediaKind, type[Image] | type[Audio]] = {"image": Image, "audio": Audio}
# The first bytes of what a file may be: enough to tell pictures from recordings where no ending does.
_AUDIO_STARTS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")


def media_kind(name: str) -> MediaKind | None:
    """What a file's ending says it holds, None for neither a picture nor a recording."""
    return _KIND_BY_ENDING.get(PurePosixPath(name).suffix.lower())


def kind_of_bytes(data: bytes) -> MediaKind:
    """What encoded bytes begin like. Anything that is no known recording counts as a picture."""
    return "audio" if data.startswith(_AUDIO_STARTS) and data[8:12] != b"WEBP" else "image"


def media_part(
    kind: MediaKind, *, data: bytes | None = None, path: Path | None = None, url: str | None = None
) -> MediaPart:
    """A part of a message. Raises `DataError` for bytes that are none at all."""
    if data is not None and not data:
        raise DataError(f"an {kind} holds no bytes")
    return _PARTS[kind](data=data, path=path, url=url)


def existing(kind: MediaKind, folder: Path, name: str) -> MediaPart:
    """The part for a file below a folder. Raises `DataError`, naming it, when there is no such file or it is empty."""
    path = folder / name
    try:
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a null in it
        size = None
    if size is None:
        raise DataError(f"there is no file {name!r:.200} in {folder}")
    if size == 0:
        raise DataError(f"the file {name!r} is empty")
    return media_part(kind, path=path)


def given_media(value: Any, kind: MediaKind | None, folder: Path) -> MediaPart:
    """A picture or recording in any form that data sets give it.

    Args:
        value: a path relative to `folder`, an address, a `data:` address, bytes, a part's object (`path`, `url` or
            base64 `data`), or the `{"bytes", "path"}` of a Hugging Face table.
        kind: what it is; None judges by the ending of its path, else by its first bytes.
        folder: where relative paths begin.

    Raises:
        DataError: when it is nothing of these, or a file that is not there.
    """
    if isinstance(value, bytes):
        return media_part(kind or kind_of_bytes(value), data=value)
    if isinstance(value, str):
        return _from_text(value, kind, folder)
    if isinstance(value, Mapping):
        if isinstance(value.get("bytes"), bytes):
            return given_media(value["bytes"], kind or media_kind(str(value.get("path") or "")), folder)
        if isinstance(value.get("data"), str):
            data = _base64(value["data"])
            return media_part(kind or kind_of_bytes(data), data=data)
        for key in ("path", "url"):
            if isinstance(value.get(key), str):
                return _from_text(value[key], kind, folder)
    raise DataError(f"a picture or recording must be a path, an address or bytes, not {value!r:.80}")


def _from_text(value: str, kind: MediaKind | None, folder: Path) -> MediaPart:
    if value.startswith("data:"):
        head, comma, body = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise DataError(f"{value[:40]!r}… is no base64 data address")
        data = _base64(body)
        return media_part(kind or kind_of_bytes(data), data=data)
    found = kind or media_kind(value)
    if found is None:
        raise DataError(f"{value!r:.200} has no ending of a picture or recording (such as .png or .wav)")
    if value.startswith(("http://", "https://")):
        return media_part(found, url=value)
    return existing(found, folder, value)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"a picture or recording is not base64: {error}") from None


def media_digest(part: MediaPart) -> bytes:
    """A digest of the very bytes (of the address, for what is elsewhere), whatever the file's name."""
    if part.data is not None:
        return hashlib.blake2b(part.data, digest_size=16).digest()
    if part.url is not None:
        return hashlib.blake2b(part.url.encode(), digest_size=16).digest()
    assert part.path is not None
    try:
        state = part.path.stat()
        if stat.S_ISREG(state.st_mode):  # a pipe would wait for ever
            return _file_digest(part.path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):  # reading it later says what is wrong
        pass
    return hashlib.blake2b(str(part.path).encode(errors="surrogateescape"), digest_size=16).digest()


@functools.lru_cache(maxsize=2**16)
def _file_digest(path: Path, size: int, modified: int) -> bytes:
    """A file's digest, computed once a process as long as its size and time stay."""
    del size, modified
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
