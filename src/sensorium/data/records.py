"""What readers yield: records with the place each came from, and what they could not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol, TypeAlias

from sensorium.errors import DataError
from sensorium.messages import Audio, Image, Message, Text

Content: TypeAlias = str | tuple[Message, ...]
# Where reading can go on: (byte offset or row, line or record number). Each reader gives the pair its own meaning.
Position: TypeAlias = tuple[int, int]
START: Position = (0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One document (text) or conversation (messages), and where it stands (`file:line`).

    `group` names what must stay on one side of a split, such as a speaker or a story; without it the content does.
    """

    content: Content
    where: str
    group: str = ""

    @property
    def n_characters(self) -> int:
        """Length of its words."""
        if isinstance(self.content, str):
            return len(self.content)
        parts = (part for message in self.content for part in message.parts)
        return sum(len(part.text) for part in parts if isinstance(part, Text))

    @property
    def media(self) -> tuple[Image | Audio, ...]:
        """Its pictures and recordings, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for message in self.content for part in message.parts if not isinstance(part, Text))

    @property
    def n_media_bytes(self) -> int:
        """Bytes of the pictures and recordings it holds itself (those in files of their own are not counted)."""
        return sum(len(part.data) for part in self.media if part.data is not None)


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that could not be read: where it stands and why."""

    where: str
    why: str


# Reading may resume at a position; it is None between records that come from one line.
Item: TypeAlias = tuple[Record | Bad, Position | None]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read and how.

    `name` is what errors call it; `ship` asks readers to leave out whatever may not train weights that ship;
    `options` are a format's own settings, such as the wording of a prompt. Where a file (or folder, or archive) holds
    pictures or recordings under names of their own, `include` and `exclude` are globs over these names. `prompts` and
    `answer` word the conversations about them (see `sensorium.data.asking`), `media_folder` is where their relative
    paths begin, and `held_out` are the groups that a given split holds out.
    """

    path: Path
    name: str
    format: str
    documents: str = "auto"
    document_chars: int = 16_384
    ship: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    answer: str = "{text}"
    media_folder: Path | None = None
    held_out: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where relative paths of pictures and recordings begin."""
        return self.media_folder if self.media_folder is not None else self.path.parent

    @property
    def n_bytes(self) -> int:
        """The size of the file, or of all files in the folder."""
        if self.path.is_dir():
            return sum(inner.stat().st_size for inner in self.path.rglob("*") if inner.is_file())
        return self.path.stat().st_size

    def wants(self, name: str) -> bool:
        """Whether what is stored under a name is to be read."""
        return (not self.include or matches(name, self.include)) and not matches(name, self.exclude)


def matches(name: str, globs: tuple[str, ...]) -> bool:
    """Whether a path below the data set's folder fits one of the globs (`*` reaches across slashes)."""
    return any(fnmatch(name, glob) for glob in globs)


class Reader(Protocol):
    """Reads a file from a position on, lazily.

    Raises:
        DataError: when the file as a whole cannot be read (missing, truncated, no table of records).
    """

    def __call__(self, file: DataFile, start: Position) -> Iterator[Item]:
        """Records and corrupt records in file order, each with the position after it."""


class Ledger:
    """Corrupt records by place: counted once however often an epoch meets them, and bounded by `max_bad`."""

    def __init__(self, name: str, max_bad: int) -> None:
        self.name = name
        self.max_bad = max_bad
        self.entries: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def first(self, n: int = 5) -> list[str]:
        """The first `n` corrupt records, as `file:line: why`."""
        return [f"{where}: {why}" for where, why in list(self.entries.items())[:n]]

    def add(self, bad: Bad) -> None:
        """Note a corrupt record. Raises `DataError`, naming some, when there are more than `max_bad`."""
        self.entries[bad.where] = bad.why
        if len(self.entries) > self.max_bad:
            named = "; ".join(self.first(3))
            raise DataError(
                f"{self.name}: more than {self.max_bad} corrupt records (first: {named}); mend them or raise max_bad"
            )


def text_content(value: object) -> str:
    """A document's text, checked. Raises `DataError` when it is no string, empty, or holds a lone surrogate."""
    if not isinstance(value, str):
        raise DataError(f"text must be a string, not {type(value).__name__}")
    if not value.strip():
        raise DataError("text is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"text holds a lone surrogate at character {error.start}: it is not Unicode") from None
    return value


def dialogue(turns: Sequence[str]) -> tuple[Message, ...]:
    """Turns that alternate, the user first, as a conversation that ends with the assistant's turn.

    Raises:
        DataError: fewer than two turns, or one that is empty.
    """
    turns = [turn.strip() for turn in turns]
    turns = turns[: len(turns) // 2 * 2]  # a question nobody answers teaches nothing
    if not turns:
        raise DataError("a dialogue needs a turn and its answer")
    if not all(turns):
        raise DataError(f"turn {turns.index('')} is empty")
    return tuple(Message.user(turn) if index % 2 == 0 else Message.assistant(turn) for index, turn in enumerate(turns))
