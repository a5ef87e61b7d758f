"""The registry of sources: where each comes from, under which licence, and how to have its very bytes."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field

from sensorium.config import Config, nearest
from sensorium.data.download import download
from sensorium.errors import ConfigError, DataError


class SourceItem(Config):
    """A file of a source, or a folder of many.

    `sha256` is the file's, or for a folder the digest of its listing (see `listing_digest`). `url` is where the
    single file can be had from its origin; null when it was extracted or regrouped from it. `format` is null for what
    is no data of its own. Items with `default` false are read only when `include` names them. `needs` is another
    item (or, as a glob, several) that the format reads along with this one. `holds_names`: its records have names of
    their own, such as the members of an archive, that the globs of `include` reach.
    """

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    n_bytes: int = Field(ge=0)
    n_files: int | None = None
    url: str | None = None
    format: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    default: bool = True
    needs: str | None = None
    holds_names: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder of files."""
        return self.n_files is not None


class Source(Config):
    """A registered source.

    `ship` says whether it may train weights that ship with the package. `held_out` names the groups of records (such
    as speakers) that are its validation split; without any, a hash divides.
    """

    name: str
    title: str
    licence: str
    ship: bool
    attribution: str
    origins: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    items: tuple[SourceItem, ...]

    def readable(self, include: tuple[str, ...] = ()) -> list[SourceItem]:
        """The items that hold records: those a glob names, or the default ones."""
        return [item for item in self.items if item.format is not None and _wanted(item, include)]

    def fetch(self) -> Path:
        """The source's folder, complete and checked by sha256.

        That is the local mirror when `SENSORIUM_DATA` names one that has it, else a cache folder
        (`SENSORIUM_CACHE`, or `~/.cache/sensorium`) that missing files are downloaded into.

        Raises:
            DataError: a file differs from the registry, or can be had neither way.
        """
        for item in self.items:
            self._have(item)
        return self._folder(self.items[0])

    def fetch_item(self, item: SourceItem) -> list[tuple[str, Path]]:
        """Names (below the source's folder) and paths of the files of one item; see `fetch`."""
        path = self._have(item)
        for other in self.items:
            if item.needs is not None and fnmatch(other.path, item.needs):
                self._have(other)
        if not item.is_folder:
            return [(item.path, path)]
        return [(f"{item.path}/{name}", path / name) for name in _listing(path)]

    def _have(self, item: SourceItem) -> Path:
        mirror = os.environ.get("SENSORIUM_DATA")
        if mirror:
            path = Path(mirror) / self.name / item.path
            if path.exists():
                _check(path, item, f"{self.name}/{item.path}")
                return path
        path = cache_folder() / "sources" / self.name / item.path
        if not path.exists():
            if item.url is None:
                raise DataError(
                    f"source {self.name}/{item.path} is available only through a mirror: "
                    f"set SENSORIUM_DATA to a folder that holds it{f' ({mirror} does not)' if mirror else ''}"
                )
            download(item.url, path, sha256=item.sha256, n_bytes=item.n_bytes, name=f"{self.name}/{item.path}")
        _check(path, item, f"{self.name}/{item.path}")
        return path

    def _folder(self, item: SourceItem) -> Path:
        path = self._have(item)
        for _ in Path(item.path).parts:
            path = path.parent
        return path


def cache_folder() -> Path:
    """Where downloads are kept: `SENSORIUM_CACHE`, or `~/.cache/sensorium`."""
    return Path(os.environ.get("SENSORIUM_CACHE") or Path.home() / ".cache" / "sensorium")


@functools.cache
def registry() -> dict[str, Source]:
    """All registered sources by name."""
    text = resources.files("sensorium.data").joinpath("sources.yaml").read_text(encoding="utf-8")
    entries = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {name: Source.parse({"name": name, **entry}, f"sources.yaml: {name}") for name, entry in entries.items()}


def source(name: str) -> Source:
    """A registered source. Raises `ConfigError` that names the nearest one when there is none."""
    try:
        return registry()[name]
    except KeyError:
        raise ConfigError(f"unknown source {name!r}{nearest(name, registry())}") from None


def listing_digest(folder: Path) -> str:
    """sha256 over the sorted lines `<sha256 of file>  <path below the folder>` of a folder's files."""
    digest = hashlib.sha256()
    for name in _listing(folder):
        digest.update(f"{_sha256(folder / name)}  {name}\n".encode())
    return digest.hexdigest()


def _wanted(item: SourceItem, include: tuple[str, ...]) -> bool:
    if not include:
        return item.default
    # A folder's files are matched one by one later; here it is enough that a glob might reach inside.
    reachable = item.is_folder or item.holds_names
    return any(fnmatch(item.path, glob) or (reachable and _reaches(item.path, glob)) for glob in include)


def _reaches(folder: str, glob: str) -> bool:
    depth = len(Path(folder).parts)
    head = "/".join(glob.split("/")[:depth])
    return fnmatch(folder, head) or "*" in head


def _listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _check(path: Path, item: SourceItem, name: str) -> None:
    if item.is_folder:
        paths: Iterator[Path] = (path / inner for inner in _listing(path))
        state = tuple((str(inner), inner.stat().st_size, inner.stat().st_mtime_ns) for inner in paths)
    else:
        state = ((str(path), path.stat().st_size, path.stat().st_mtime_ns),)
    found = _digest_of(path, state)
    if found != item.sha256:
        raise DataError(
            f"source {name} has sha256 {found[:12]}…, not the registered {item.sha256[:12]}… "
            f"(remove {path} to fetch it again, or mend the mirror)"
        )


@functools.lru_cache(maxsize=4096)
def _digest_of(path: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    """A file's or folder's digest, computed once per process as long as sizes and times stay (`state`)."""
    del state
    return listing_digest(path) if path.is_dir() else _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
