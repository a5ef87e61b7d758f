"""Whatever a picture file holds, to upright RGB: orientation, transparency, deep greys, other colour spaces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms

_ORIENTATION = 0x0112  # the tag of EXIF
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Turn a picture as its EXIF orientation says; one that cannot be read says nothing."""
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a broken tag makes Pillow raise, the picture itself is whole
        return picture
    return picture if turn is None else picture.transpose(turn)


def to_rgb(picture: PIL.Image.Image, background: tuple[float, float, float]) -> PIL.Image.Image:
    """RGB of a picture of any mode, composited over a background (levels from 0 to 1) where it is transparent."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode[0] in "IF":
        return _from_deep(picture).convert("RGB")
    if picture.mode == "LAB":
        return _from_lab(picture)
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        behind = PIL.Image.new("RGBA", picture.size, (*(round(255 * level) for level in background), 255))
        return PIL.Image.alpha_composite(behind, clear).convert("RGB")
    return picture.convert("RGB")


def _from_deep(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Greys of more than 8 bits to 8: 16-bit ones by their full range, floats as 0..1 or 0..255.

    Integers beyond 16 bits and floats beyond 255 have no customary white: these are stretched, darkest to lightest.
    """
    levels = np.asarray(picture).astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("it has levels that are no numbers")
    low, high = float(levels.min()), float(levels.max())
    white = 65535.0 if picture.mode.startswith("I") else 1.0 if high <= 1.0 else 255.0
    if low < 0.0 or high > white:
        levels, white = levels - low, max(high - low, 1e-300)
    rounded: npt.NDArray[np.uint8] = np.rint(levels * (255.0 / white)).astype(np.uint8)
    return PIL.Image.fromarray(rounded)


def _from_lab(picture: PIL.Image.Image) -> PIL.Image.Image:
    lab, srgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
    converted = PIL.ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None  # None is for a conversion in place
    return converted
