"""Fetching a file over the network: https, size-limited, checked, resumed where it broke off, and atomic."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

from sensorium.errors import DataError

_CHUNK = 2**18
Progress = Callable[[str, int, int], None]  # (what, bytes so far, bytes in all)
_watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_downloads(progress: Progress) -> Iterator[None]:
    """Tell `progress` of every download within the block, however deep in the reading of data it happens."""
    before = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(before)


def download(
    url: str,
    path: Path,
    *,
    sha256: str,
    n_bytes: int,
    name: str | None = None,
    schemes: tuple[str, ...] = ("https",),
    timeout: float = 60.0,
) -> None:
    """Fetch one file of known size and digest.

    The bytes arrive in `path` + `.part`, which a later call goes on from; `path` appears complete or not at all. Of
    several processes one fetches it, while the others wait. Whoever asked by `watched_downloads` is told how far it is.

    Args:
        url: where from.
        path: where to; parent folders are made.
        sha256: digest that the file must have.
        n_bytes: size that it must have; not a byte more is read.
        name: what to call it to those who watch; the address by default.
        schemes: what the address, and any address it redirects to, may begin with.
        timeout: seconds without a byte before giving up.

    Raises:
        DataError: the address is not allowed, the transfer fails, or the file is not the registered one.
    """
    _allowed(url, schemes)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(path.parent):
            if path.exists():  # another process was faster
                return
            _transfer(url, part, n_bytes, name or url, schemes, timeout)
            with part.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != sha256:
                part.unlink()
                raise DataError(
                    f"{url} has sha256 {found[:12]}…, not the registered {sha256[:12]}… (its origin changed)"
                )
            part.replace(path)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{url} cannot be fetched: {reason} (try again, or set SENSORIUM_DATA to a local mirror)"
        ) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder (where the system has such locks): processes of one run fetch the same files."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _transfer(url: str, part: Path, n_bytes: int, name: str, schemes: tuple[str, ...], timeout: float) -> None:
    progress = _watcher.get()
    done = part.stat().st_size if part.exists() else 0
    if done >= n_bytes:
        done = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    opener = urllib.request.build_opener(_Redirects(schemes))
    with opener.open(request, timeout=timeout) as response:
        if done and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0  # the server starts over
        with part.open("ab" if done else "wb") as out:
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if done > n_bytes:
                    break
                out.write(chunk)
                if progress is not None:
                    progress(name, done, n_bytes)
    if done > n_bytes:
        part.unlink()
        raise DataError(f"{url} is longer than the registered {n_bytes} bytes (its origin changed)")
    if done < n_bytes:
        raise DataError(f"{url} broke off after {done} of {n_bytes} bytes (run again to go on from there)")


def _allowed(url: str, schemes: tuple[str, ...]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise DataError(f"{url} is not fetched: only {', '.join(schemes)} addresses are")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed schemes only."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _allowed(newurl, self._schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
