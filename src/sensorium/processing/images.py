"""Pictures: any file that Pillow reads, to normalised tensors of the size an encoder sees.

Resizing follows Pillow to within one of 255 levels. Where that is certain, torch does it, several times as fast.
"""

from __future__ import annotations

import codecs
import functools
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageFile
import torch
import torch.nn.functional as F

from sensorium.config import ImageConfig
from sensorium.errors import DataError
from sensorium.messages import Image
from sensorium.processing.colours import to_rgb, upright
from sensorium.processing.limits import named, open_media

Pixels: TypeAlias = npt.NDArray[np.uint8]
Values: TypeAlias = npt.NDArray[np.float32]

# EPS is a program, which Pillow would hand to Ghostscript to run.
_NOT_READ = {"EPS"}
_DRAWINGS = (b"<svg", b"%!ps", b"%pdf")
_NOT_THIS_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)  # what Pillow's plugins say so with
# Files of other formats are inside these, whose pictures only Pillow's own limit measures.
_NESTED = {"BLP", "CUR", "ICNS", "ICO", "IPTC"}
_pillows_limit = threading.Lock()
_WHILE, _SAMPLED = 16, 32  # pixels along a line, and lines
_REACH = 3.0  # pixels from which the widest filter, Lanczos, gathers


class Tiles(NamedTuple):
    """A picture as an encoder takes it: (3, height, width) float32 each.

    A picture cut into `rows` × `columns` tiles has these row by row, and then the whole; any other is one, and its
    rows and columns are 0.
    """

    values: list[Values]
    rows: int = 0
    columns: int = 0


def load_image(part: Image, config: ImageConfig) -> PIL.Image.Image:
    """Decode a picture to RGB: upright, the first frame, what is transparent over `config.background`.

    Raises:
        DataError: when it cannot be read, has more than `max_bytes` or (by its header, before decoding) more than
            `max_pixels`, is cut short, or is an address that was not fetched.
    """
    name = named(part)
    with open_media(part, config.max_bytes) as stream, _broken_pictures(name):
        picture = _opened(stream, config.max_pixels)
        if picture is None:
            raise DataError(f"{name} is no picture that can be read{_hint(stream)}")
        width, height = picture.size
        if width * height > config.max_pixels:
            limit = f"{config.max_pixels / 1e6:g} megapixels"
            raise DataError(f"{name}: image {width}x{height} exceeds {limit} (set max_pixels, or make it smaller)")
        with _measured_within(picture.format, config.max_pixels):
            picture.load()
        return to_rgb(upright(picture), config.background)


def image_tiles(picture: PIL.Image.Image, config: ImageConfig) -> Tiles:
    """What an encoder sees of an RGB picture, by the policy `config.resize`: `(value / 255 - mean) / std`."""
    height, width = config.size
    if config.resize == "tiles":
        return _cut(picture, config)
    if config.resize == "crop":
        pixels = _cropped(picture, config)
    elif config.resize == "pad":
        pixels = _padded(picture, config)
    else:
        pixels = _resized(picture, height, width, config.resample)
    return Tiles([_normalised(pixels, config)])


@contextmanager
def _broken_pictures(name: str) -> Iterator[None]:
    """One error for all that Pillow's many readers raise on broken files."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name} is no picture that can be read: {reason}") from None


def _opened(stream: BinaryIO, max_pixels: int) -> PIL.ImageFile.ImageFile | None:
    """Read a picture's header. The limit on pixels is ours alone, where `PIL.Image.open` has one for the process."""
    prefix = stream.read(16)
    tried: set[str] = set()
    for register in (PIL.Image.preinit, PIL.Image.init):
        register()
        for name in [name for name in PIL.Image.ID if name not in tried | _NOT_READ]:
            tried.add(name)
            factory, accept = PIL.Image.OPEN[name]
            accepted = accept is None or accept(prefix)
            if not accepted or isinstance(accepted, str):  # a string says what Pillow lacks to read it
                continue
            stream.seek(0)
            try:
                with _measured_within(name, max_pixels):
                    return factory(stream, "")
            except _NOT_THIS_FORMAT:
                continue
    return None


@contextmanager
def _measured_within(format_: str | None, max_pixels: int) -> Iterator[None]:
    """Lend Pillow our limit while it reads a format that holds files of others: it decodes them unasked."""
    if format_ not in _NESTED:
        yield
        return
    with _pillows_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, max_pixels // 2  # it refuses twice as many
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = theirs


def _hint(stream: BinaryIO) -> str:
    stream.seek(0)
    head = stream.read(512)
    if any(sign in head.lower() for sign in _DRAWINGS):
        return ": it is a drawing of lines and shapes (save it as PNG first)"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return ""
    return f": it holds text ({text.strip()[:20]!r} …)"


def _resized(picture: PIL.Image.Image, height: int, width: int, resample: str) -> Pixels:
    """Resize to (height, width, 3), within one level of Pillow.

    Each axis is a pass whose result is rounded. Torch is several times as fast, but rounds its weights more coarsely
    and may be off by one in a pass. Where both axes are at least halved no neighbour has much weight, and its two
    passes stay within one level but in smooth pictures; for these, and for other sizes, Pillow does the first.
    """
    if not _torch_has(resample) or picture.size == (width, height):
        return np.asarray(_resized_exactly(picture, height, width, resample))
    if picture.width >= 2 * width and picture.height >= 2 * height:
        return _halved(np.array(picture), height, width, resample)
    first = picture.resize(_between(picture.size, height, width), PIL.Image.Resampling[resample.upper()])
    return _by_torch(np.array(first), height, width, resample)


def _halved(pixels: Pixels, height: int, width: int, resample: str) -> Pixels:
    """Resize (height, width, 3) levels to at most half along both axes."""
    full_height, full_width = pixels.shape[:2]
    between_width, between_height = _between((full_width, full_height), height, width)
    rows_first = between_width == full_width
    if _is_smooth(pixels, 1 if rows_first else 0):
        picture = PIL.Image.fromarray(pixels)
        picture = picture.resize((between_width, between_height), PIL.Image.Resampling[resample.upper()])
        pixels = np.array(picture)
    elif rows_first:  # torch of itself takes the width first
        pixels = _by_torch(pixels, between_height, between_width, resample)
    return _by_torch(pixels, height, width, resample)


@functools.cache
def _torch_has(resample: str) -> bool:
    if resample not in ("bilinear", "bicubic", "lanczos"):
        return False
    try:
        _by_torch(np.zeros((8, 8, 3), np.uint8), 4, 4, resample)
    except (NotImplementedError, ValueError):  # Lanczos is young there
        return False
    return True


def _by_torch(pixels: Pixels, height: int, width: int, resample: str) -> Pixels:
    # (1, 3, height, width), with the channels last in memory
    batch = torch.from_numpy(np.require(pixels, requirements="W")).permute(2, 0, 1)[None]
    resized = F.interpolate(batch, (height, width), mode=resample, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _is_smooth(pixels: Pixels, axis: int) -> bool:
    """Whether more than a few places of a picture stay at one level for a while along an axis.

    There, an error of the first pass is that of all its neighbours, and the second adds its own. The grain of a
    photograph is enough to prevent that.
    """
    lines = np.moveaxis(pixels, axis, 0)
    sample = np.ascontiguousarray(lines[:, :: max(lines.shape[1] // _SAMPLED, 1)]).reshape(len(lines), -1)
    if len(sample) <= _WHILE:
        return True
    start = sample[:-_WHILE]
    level = (start > 0) & (start < 255)  # at these, both are clipped alike
    for step in range(2, _WHILE + 1, 2):
        level &= start == sample[step : len(start) + step]
    return bool(level.mean() > 0.002)


def _between(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The (width, height) of a picture between the two passes of Pillow, which may begin with either axis.

    What is rounded and clipped between them depends on it.
    """
    tall = size[1] > height and 2 * (size[0] - width) < size[1] - height
    return (size[0], height) if tall and _pillow_chooses() else (width, size[1])


@functools.cache
def _pillow_chooses() -> bool:
    """Whether this Pillow resizes tall pictures along the height first; older ones never do."""
    levels = (np.arange(12 * 4 * 3) * 97 % 256).astype(np.uint8).reshape(12, 4, 3)
    picture, how = PIL.Image.fromarray(levels), PIL.Image.Resampling.BICUBIC
    by_rows = picture.resize((4, 5), how).resize((6, 5), how)
    return picture.resize((6, 5), how).tobytes() == by_rows.tobytes()


def _resized_exactly(picture: PIL.Image.Image, height: int, width: int, resample: str) -> PIL.Image.Image:
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), PIL.Image.Resampling[resample.upper()])


def _cropped(picture: PIL.Image.Image, config: ImageConfig) -> Pixels:
    """The middle of the picture whose shortest edge is `shortest_edge`; beyond its edges is black (CLIP)."""
    height, width = config.size
    edge = config.shortest_edge or max(config.size)
    longer = int(edge * max(picture.size) / min(picture.size))
    whole_height, whole_width = (longer, edge) if picture.width <= picture.height else (edge, longer)
    top, left = (whole_height - height) // 2, (whole_width - width) // 2
    rows = slice(max(top, 0), min(top + height, whole_height))
    columns = slice(max(left, 0), min(left + width, whole_width))
    if longer <= 4 * max(config.size):
        seen = _resized(picture, whole_height, whole_width, config.resample)[rows, columns]
    else:  # a strip, which as a whole could fill the memory
        seen = _window(picture, (whole_height, whole_width), rows, columns, config.resample)
    if seen.shape[:2] == config.size:
        return seen
    canvas = np.zeros((height, width, 3), np.uint8)
    place = max(-top, 0), max(-left, 0)
    canvas[place[0] : place[0] + seen.shape[0], place[1] : place[1] + seen.shape[1]] = seen
    return canvas


def _window(picture: PIL.Image.Image, whole: tuple[int, int], rows: slice, columns: slice, resample: str) -> Pixels:
    """A part of the picture resized to `whole` (height, width), made without the rest."""
    how = PIL.Image.Resampling[resample.upper()]
    down, across = picture.height / whole[0], picture.width / whole[1]
    reach = math.ceil(_REACH * max(down, across, 1.0)) + 1
    left, top = max(math.floor(columns.start * across) - reach, 0), max(math.floor(rows.start * down) - reach, 0)
    right = min(math.ceil(columns.stop * across) + reach, picture.width)
    bottom = min(math.ceil(rows.stop * down) + reach, picture.height)
    part = picture.crop((left, top, right, bottom))
    x0, x1 = columns.start * across - left, columns.stop * across - left
    y0, y1 = rows.start * down - top, rows.stop * down - top
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if _between(picture.size, *whole)[0] == picture.width:
        part = part.resize((part.width, height), how, box=(0, y0, part.width, y1))
        return np.asarray(part.resize((width, height), how, box=(x0, 0, x1, height)))
    part = part.resize((width, part.height), how, box=(x0, 0, x1, part.height))
    return np.asarray(part.resize((width, height), how, box=(0, y0, width, y1)))


def _padded(picture: PIL.Image.Image, config: ImageConfig) -> Pixels:
    """The whole picture, as large as fits, in the middle of the background."""
    height, width = config.size
    scale = min(height / picture.height, width / picture.width)
    inner_height = min(max(round(picture.height * scale), 1), height)
    inner_width = min(max(round(picture.width * scale), 1), width)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = [round(255 * level) for level in config.background]
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = _resized(picture, inner_height, inner_width, config.resample)
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return canvas


def _cut(picture: PIL.Image.Image, config: ImageConfig) -> Tiles:
    """Idefics3's tiles: the longest edge to `longest_edge`, both edges to whole tiles, and the whole as a last tile."""
    height, width = config.size
    longest = config.longest_edge or 4 * max(config.size)
    sized_height, sized_width = _to_longest(picture.height, picture.width, longest)
    rows, columns = _grid(sized_height, sized_width, height, width)
    # Pillow does the first of several passes, lest what is off by one in each should add up.
    sized = _resized_exactly(picture, sized_height, sized_width, config.resample)
    pixels = _resized(sized, rows * height, columns * width, config.resample)
    if rows * columns == 1:
        return Tiles([_normalised(pixels, config)])
    tiles = [
        pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    ]
    tiles.append(_whole_tile(pixels, config))
    return Tiles([_normalised(tile, config) for tile in tiles], rows, columns)


def _whole_tile(pixels: Pixels, config: ImageConfig) -> Pixels:
    height, width = config.size
    if pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width and _torch_has(config.resample):
        return _halved(pixels, height, width, config.resample)
    return _resized(PIL.Image.fromarray(pixels), height, width, config.resample)


def _to_longest(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) with the longest edge as given and the other made even (Idefics3)."""
    aspect = width / height
    if width >= height:
        other = int(longest / aspect)
        return max(other + other % 2, 1), longest
    other = int(longest * aspect)
    return longest, max(other + other % 2, 1)


def _grid(height: int, width: int, tile_height: int, tile_width: int) -> tuple[int, int]:
    """How many rows and columns of tiles a picture takes."""
    aspect = width / height
    if width >= height:
        columns = math.ceil(width / tile_width)
        return math.ceil(int(columns * tile_width / aspect) / tile_height), columns
    rows = math.ceil(height / tile_height)
    return rows, math.ceil(int(rows * tile_height * aspect) / tile_width)


def _normalised(pixels: Pixels, config: ImageConfig) -> Values:
    """(height, width, 3) levels to (3, height, width) float32."""
    scale, shift = _normalisation(config.mean, config.std)
    values = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    values *= scale
    values += shift
    return values


@functools.lru_cache(64)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Values, Values]:
    """Scale and shift, (3, 1, 1) each, of what normalises levels from 0 to 255."""
    spread = np.array(std)[:, None, None]
    return (1 / (255 * spread)).astype(np.float32), (-np.array(mean)[:, None, None] / spread).astype(np.float32)
