"""What a data set holds: counts, lengths, pictures, recordings, duplicates, and what in it is broken."""

from __future__ import annotations

import functools
import hashlib
import heapq
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from sensorium.config import AudioConfig, ImageConfig
from sensorium.data.formats import READERS
from sensorium.data.media_files import MediaPart, media_digest
from sensorium.data.records import START, Bad, Content, DataFile, Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import in_split
from sensorium.data.world.sheet import contact_sheet
from sensorium.errors import DataError
from sensorium.messages import Image
from sensorium.processing.audio import load_audio
from sensorium.processing.images import load_image

_LETTERS = 1600  # characters of a record that are looked at to tell its script
_THUMBNAIL = 176  # pixels
_CAPTION = 200


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is spread: its sum, least, middle, 95th percentile and greatest."""

    total: float
    least: float
    median: float
    p95: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of some values; None of none."""
        if not values:
            return None
        ordered = sorted(values)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return cls(sum(ordered), ordered[0], statistics.median(ordered), p95, ordered[-1])

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {name: getattr(self, name) for name in ("total", "least", "median", "p95", "most")}


@dataclass(slots=True)
class Report:
    """What was found. Lengths are in characters and tokens, sides in pixels, durations in seconds.

    Pictures and recordings are counted as often as records show them; `distinct` and the rest tell of each once.
    """

    name: str
    files: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    conversations: int = 0
    turns: int = 0
    duplicates: int = 0
    scripts: Counter[str] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    shown: Counter[str] = field(default_factory=Counter)
    distinct: Counter[str] = field(default_factory=Counter)
    media_bytes: Counter[str] = field(default_factory=Counter)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Usable records."""
        return self.documents + self.conversations

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        spreads = {
            name: spread.to_dict() if (spread := Spread.of(getattr(self, name))) is not None else None
            for name in ("characters", "tokens", "widths", "heights", "seconds")
        }
        plain = ("name", "files", "documents", "conversations", "turns", "duplicates")
        counted = ("formats", "scripts", "shown", "distinct", "media_bytes")
        return (
            {name: getattr(self, name) for name in plain}
            | {name: dict(getattr(self, name)) for name in counted}
            | {"records": self.records}
            | spreads
            | {"bad": [{"where": bad.where, "why": bad.why} for bad in self.bad]}
        )


class Checker:
    """Reads a whole data set, decodes each picture and recording once, and keeps some pictures to show.

    Args:
        spec: what to read; its `max_bad` is no limit here.
        count_tokens: the length of a record in tokens, None to leave them out.
        pictures: how many pictures to keep, drawn evenly.
        progress: told of the number of records met, as it goes on.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        *,
        count_tokens: Callable[[Content], int] | None = None,
        pictures: int = 0,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._spec = spec
        self._count_tokens = count_tokens
        self._pictures = pictures
        self._progress = progress
        self._image, self._audio = ImageConfig(), AudioConfig()
        self._seen: set[bytes] = set()
        self._media: dict[bytes, str | None] = {}  # by digest: what is wrong with it
        self._kept: list[tuple[int, bytes, PIL.Image.Image, str]] = []  # a heap, the greatest draw first
        self.report = Report(spec.name)

    @property
    def samples(self) -> list[tuple[PIL.Image.Image, str]]:
        """Some of the pictures, each with the first words said of it."""
        return [(picture, caption) for _, _, picture, caption in sorted(self._kept, key=lambda kept: kept[1])]

    def run(self) -> Report:
        """Read it all.

        Raises:
            DataError: when there is nothing to read at all. A file that is broken as a whole is one bad item.
        """
        files = self._spec.files()
        self.report.files = len(files)
        met = 0
        for file in files:
            for item in _items(file):
                met += 1
                self._progress(met)
                if isinstance(item, Bad):
                    self.report.bad.append(item)
                elif in_split(item, self._spec, file):
                    self._add(item, file)
                if self._spec.limit is not None and self.report.records >= self._spec.limit:
                    return self.report
        return self.report

    def _add(self, record: Record, file: DataFile) -> None:
        try:
            for part in record.media:
                self._decode(part, record)
            tokens = None if self._count_tokens is None else self._count_tokens(record.content)
        except DataError as error:
            self.report.bad.append(Bad(record.where, str(error)))
            return
        report = self.report
        report.formats[file.format] += 1
        report.characters.append(record.n_characters)
        if tokens is not None:
            report.tokens.append(tokens)
        if isinstance(record.content, str):
            report.documents += 1
        else:
            report.conversations += 1
            report.turns += len(record.content)
        for part in record.media:
            report.shown[_kind(part)] += 1
        report.scripts[script_of(_words(record.content))] += 1
        digest = _digest(record)
        report.duplicates += digest in self._seen
        self._seen.add(digest)

    def _decode(self, part: MediaPart, record: Record) -> None:
        """Decode a picture or recording that was not met before. Raises `DataError` when it is broken."""
        digest = media_digest(part)
        if digest not in self._media:
            try:
                self._measure(part, digest, record)
                self._media[digest] = None
            except DataError as error:
                self._media[digest] = str(error)
        if (why := self._media[digest]) is not None:
            raise DataError(why)

    def _measure(self, part: MediaPart, digest: bytes, record: Record) -> None:
        report, kind = self.report, _kind(part)
        if isinstance(part, Image):
            picture = load_image(part, self._image)
            report.widths.append(picture.width)
            report.heights.append(picture.height)
            self._keep(picture, digest, record)
        else:
            report.seconds.append(len(load_audio(part, self._audio)) / self._audio.sample_rate)
        report.distinct[kind] += 1
        report.media_bytes[kind] += _size(part)

    def _keep(self, picture: PIL.Image.Image, digest: bytes, record: Record) -> None:
        """Keep the pictures with the least digests: an even draw that is the same every time."""
        if not self._pictures:
            return
        draw = -int.from_bytes(digest[:8], "big")
        if len(self._kept) == self._pictures and draw <= self._kept[0][0]:
            return
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        entry = (draw, digest, picture, _caption(record.content))
        if len(self._kept) < self._pictures:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heapreplace(self._kept, entry)


def _items(file: DataFile) -> Iterable[Record | Bad]:
    """The items of a file; when it breaks as a whole, that is the last one."""
    try:
        for item, _ in READERS[file.format](file, START):
            yield item
    except DataError as error:
        yield Bad(file.name, str(error))


def _kind(part: MediaPart) -> str:
    return "image" if isinstance(part, Image) else "audio"


def _size(part: MediaPart) -> int:
    if part.data is not None:
        return len(part.data)
    return part.path.stat().st_size if part.path is not None else 0


def _words(content: Content) -> str:
    return content if isinstance(content, str) else "\n".join(message.text for message in content)


def _digest(record: Record) -> bytes:
    """What two records have in common that are the same but for case and spacing."""
    digest = hashlib.blake2b(" ".join(_words(record.content).casefold().split()).encode(), digest_size=16)
    for part in record.media:
        digest.update(media_digest(part))
    return digest.digest()


def _caption(content: Content) -> str:
    """The assistant's first words."""
    if isinstance(content, str):
        return content[:_CAPTION]
    said = next((message.text for message in content if message.role == "assistant" and message.text), "")
    return " ".join(said.split())[:_CAPTION]


def script_of(text: str) -> str:
    """The script that most letters of a text's beginning are written in, such as `latin` or `han`."""
    counts = Counter(_script(letter) for letter in text[:_LETTERS] if letter.isalpha())
    if counts["hiragana"] + counts["katakana"] > 0.1 * counts.total():
        return "japanese"
    return counts.most_common(1)[0][0] if counts else "none"


@functools.lru_cache(maxsize=2**14)
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "unknown").partition(" ")[0].lower()
    return "han" if name == "cjk" else name


def write_sheet(checker: Checker, path: Path) -> Path:
    """Write the pictures that a check kept on one page. Raises `DataError` when there are none."""
    samples = checker.samples
    if not samples:
        raise DataError(f"{checker.report.name} holds no picture that can be shown: no sheet was written")
    return contact_sheet([picture for picture, _ in samples], [caption for _, caption in samples], path)
