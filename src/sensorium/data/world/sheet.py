"""A contact sheet: many pictures on one page, each with a line of words below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sensorium.errors import DataError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_CELL = 176  # pixels a picture is shown in
_MARGIN = 12
_LINE = 15
_MAX_LINES = 3
_MAX_PICTURES = 1024
_CJK_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "uming.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Medium.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "simsun.ttc",
)


def contact_sheet(
    images: Sequence[NDArray[np.uint8] | Image.Image],
    captions: Sequence[str],
    path: str | Path,
    *,
    columns: int | None = None,
) -> Path:
    """Write pictures and their captions on one page.

    Args:
        images: (height, width, 3) or (height, width) uint8 each, of any sizes, or Pillow images.
        captions: as many; long ones are broken into at most three lines. `can_write` tells whether this machine has
            a font for one: characters without a font are shown as "?".
        path: the picture file to write; its ending says the format.
        columns: pictures a row; by default about as many as there are rows.

    Returns:
        The path.

    Raises:
        DataError: no pictures, too many, captions of another number, or a file that cannot be written.
    """
    if not images:
        raise DataError("a contact sheet of 0 pictures: give at least one")
    if len(images) > _MAX_PICTURES:
        raise DataError(f"a contact sheet of {len(images)} pictures exceeds {_MAX_PICTURES}: show fewer")
    if len(images) != len(captions):
        raise DataError(f"{len(images)} pictures with {len(captions)} captions: give one caption each")
    if columns is not None and columns < 1:
        raise DataError(f"{columns} columns: give at least 1")
    columns = min(columns or ceil(sqrt(len(images) * 1.4)), len(images))
    lines = [_broken(caption) for caption in captions]
    row_height = _CELL + _LINE * max(len(caption) for caption in lines) + _MARGIN + 4
    n_rows = ceil(len(images) / columns)
    page = Image.new("RGB", (columns * (_CELL + _MARGIN) + _MARGIN, n_rows * row_height + _MARGIN), (255, 255, 255))
    for index, (image, caption) in enumerate(zip(images, lines, strict=True)):
        row, column = divmod(index, columns)
        _place(page, image, caption, _MARGIN + column * (_CELL + _MARGIN), _MARGIN + row * row_height)
    return save_picture(page, Path(path))


def can_write(text: str) -> bool:
    """Whether a font on this machine has the characters of a text; if not, caption in plain English letters."""
    return text.isascii() or _wide_font() is not None


def _place(
    page: Image.Image, image: NDArray[np.uint8] | Image.Image, caption: Sequence[str], left: int, top: int
) -> None:
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    scale = _CELL / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # Small pictures keep their pixels visible; large ones are averaged.
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    page.paste(picture.resize(size, resampling), (left + (_CELL - size[0]) // 2, top + (_CELL - size[1]) // 2))
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(caption):
        draw.text((left, top + _CELL + 3 + number * _LINE), line, fill=(40, 40, 48), font=_font_for(line))


def _broken(caption: str) -> list[str]:
    """The caption in lines that fit below a picture; what exceeds the last ends in an ellipsis."""
    text = _writable(" ".join(caption.split()))
    font = _font_for(text)
    # Words stay whole where there are spaces; Chinese may break anywhere.
    words = list(chain.from_iterable([f"{word} "] if word.isascii() else [*word, " "] for word in text.split()))
    lines = [""]
    for word in words:
        if font.getlength((lines[-1] + word).rstrip()) > _CELL and lines[-1]:
            lines.append("")
        lines[-1] += word
    lines = [_cut(line.rstrip(), font) for line in lines]
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES - 1] = _cut(lines[_MAX_LINES - 1] + "...", font, must_end=True)
    return lines[:_MAX_LINES]


def _cut(line: str, font: Font, *, must_end: bool = False) -> str:
    if font.getlength(line) <= _CELL:
        return line
    end = "..."
    body = line.removesuffix(end) if must_end else line
    while body and font.getlength(body + end) > _CELL:
        body = body[:-1]
    return body + end


def _writable(text: str) -> str:
    return text if can_write(text) else "".join(character if character.isascii() else "?" for character in text)


def _font_for(text: str) -> Font:
    return (None if text.isascii() else _wide_font()) or _plain_font()


@cache
def _plain_font() -> Font:
    return ImageFont.load_default(12)


@cache
def _wide_font() -> ImageFont.FreeTypeFont | None:
    for name in _CJK_FONTS:
        try:
            return ImageFont.truetype(name, 12)
        except OSError:
            continue
    return None


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a picture in the format that the file's ending says. Raises `DataError` when that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the picture {path}: {error} (end its name in .png)") from error
    return path
