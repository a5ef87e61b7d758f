"""Tar archives without trust: nothing is extracted, sizes are bounded, links and devices are named and passed over."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from sensorium.data.files import MAX_WHOLE, compression, open_bytes, read_whole
from sensorium.data.records import Bad, DataFile
from sensorium.errors import DataError

MAX_MEMBER = 256 * 2**20  # bytes of one file in an archive
_MAX_HEADER = 2**20  # bytes of a long name, or of a table of attributes
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, the byte its header begins at, and where its content stands."""

    name: str
    header: int
    start: int
    size: int


class TarReader:
    """Members of an archive in order, from a member's header on; content is read before going on.

    Args:
        stream: the archive, decompressed; read forward only.
        name: what errors call it.
        start: the byte at which a header begins.

    Raises:
        DataError: from iteration too, when the archive is cut short or broken.
    """

    def __init__(self, stream: IO[bytes], name: str, start: int = 0) -> None:
        self._stream = _Forward(stream, name)
        self._stream.seek(start)
        self._name = name

    def __iter__(self) -> Iterator[Member | Bad]:
        try:
            with tarfile.open(fileobj=self._stream, mode="r:") as archive:  # type: ignore[call-overload]
                before = -1
                while (info := archive.next()) is not None:
                    archive.members = []  # an archive of millions must not be held in memory
                    if info.size < 0 or info.offset <= before:
                        raise tarfile.ReadError(f"{info.name!r:.200} has {info.size} bytes")
                    before = info.offset
                    yield from self._member(info)
        except (tarfile.TarError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"{self._name} is not a sound tar archive: {error} (fetch it again)") from None
        # The library takes a broken header for the end: only zeros, or nothing at all, are one.
        if self._stream.last.strip(b"\0"):
            place = self._stream.tell() - len(self._stream.last)
            raise DataError(f"{self._name} is not a sound tar archive: no header at byte {place} (fetch it again)")

    def _member(self, info: tarfile.TarInfo) -> Iterator[Member | Bad]:
        if info.isdir():
            return
        where = f"{self._name}/{info.name}"
        if why := _refused(info):
            yield Bad(where, why)
        else:
            yield Member(info.name, info.offset, info.offset_data, info.size)

    def read(self, member: Member) -> bytes:
        """The content of the member just met. Raises `DataError` when the archive is cut short within it."""
        self._stream.seek(member.start)
        data = self._stream.content(member.size)
        if len(data) < member.size:
            raise DataError(f"{self._name} is truncated within {member.name} (fetch it again)")
        return data


def _refused(info: tarfile.TarInfo) -> str | None:
    """Why a member is not read, None where it is."""
    if info.issym() or info.islnk():
        return f"it is a link to {info.linkname!r:.200}, not a file (pack the file itself)"
    if not info.isreg() or info.issparse():
        return "it is no plain file"
    if info.name.startswith("/") or ".." in PurePosixPath(info.name).parts:
        return "its name leads out of the archive"
    if info.size > MAX_MEMBER:
        return f"it exceeds {MAX_MEMBER >> 20} MiB, the limit of a file in an archive"
    return None


class _Forward:
    """A stream that is only read forward, in small pieces, and remembers the last one."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._place = 0
        self._end = stream.seek(0, io.SEEK_END) if stream.seekable() and not _compressed(stream) else None
        if self._end is not None:
            stream.seek(0)
        self.last = b""

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> None:
        """Go on to a place. Raises `DataError` where it lies beyond the end, or too far to be decompressed."""
        if self._end is not None:
            if place > self._end:
                raise DataError(f"{self._name} is truncated: it ends at byte {self._end} of {place} (fetch it again)")
            self._place = self._stream.seek(place)
            return
        if place - self._place > MAX_WHOLE:
            raise DataError(f"{self._name} holds a file of more than {MAX_WHOLE >> 20} MiB, compressed (unpack it)")
        while self._place < place:
            if not (passed := len(self._stream.read(min(place - self._place, _CHUNK)))):
                raise DataError(f"{self._name} is truncated: it ends at byte {self._place} of {place}")
            self._place += passed

    def read(self, size: int) -> bytes:
        """Bytes of a header. Raises `DataError` when one claims to be larger than any is."""
        if not 0 <= size <= _MAX_HEADER:
            raise DataError(f"{self._name} holds a header of {size} bytes: no sound tar archive does")
        self.last = self.content(size)
        return self.last

    def content(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._place += len(data)
        return data


def _compressed(stream: Any) -> bool:
    """Whether going to the end would mean to decompress it all."""
    return not isinstance(stream, io.BufferedReader | io.FileIO | io.BytesIO)


class Archive:
    """An archive whose members are read in any order, such as one sorted by class.

    Raises:
        DataError: when it is missing, broken, or compressed and larger than a file that is read whole.
    """

    def __init__(self, stream: IO[bytes], file: DataFile) -> None:
        self._stream = stream
        self._name = file.name
        self.members: dict[str, Member] = {}
        self.bad: list[Bad] = []
        for member in TarReader(stream, file.name):
            if isinstance(member, Bad):
                self.bad.append(member)
            else:
                self.members[member.name] = member

    def read(self, name: str) -> bytes:
        """The content of a member. Raises `DataError` when there is none of this name, or it is cut short."""
        member = self.members.get(name)
        if member is None:
            raise DataError(f"{self._name} has no member {name!r}")
        self._stream.seek(member.start)
        data = self._stream.read(member.size)
        if len(data) < member.size:
            raise DataError(f"{self._name} is truncated within {name} (fetch it again)")
        return data


@contextmanager
def open_archive(file: DataFile) -> Iterator[Archive]:
    """The archive that a file is. Raises `DataError` as `Archive` does."""
    if compression(file.path):
        yield Archive(io.BytesIO(read_whole(file.path, file.name)), file)
        return
    with open_bytes(file.path, file.name) as stream:
        yield Archive(stream, file)


def in_mixed_order(names: list[str]) -> list[str]:
    """Names in an order that depends on nothing but themselves, so that no class stands together with its own."""

    def key(name: str) -> bytes:
        return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()

    return sorted(names, key=key)
