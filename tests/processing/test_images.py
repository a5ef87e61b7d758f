"""Pictures of every kind become the tensors that the published processors make, or one clear error."""

import base64
import contextlib
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from sensorium.config import ImageConfig
from sensorium.errors import DataError
from sensorium.messages import Image
from sensorium.processing.images import Tiles, image_tiles, load_image

CONFIG = ImageConfig()
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# What each processor draws on: noise is the hardest for rounding, a slow gradient for errors that agree.
KINDS = ("noise", "gradient", "black and white")


def drawn(height: int, width: int, kind: str = "noise", seed: int = 0) -> PIL.Image.Image:
    rng = np.random.default_rng([seed, height, width])
    if kind == "gradient":
        corners = PIL.Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        return corners.resize((width, height), PIL.Image.Resampling.BICUBIC)
    levels = [0, 255] if kind == "black and white" else np.arange(256)
    return PIL.Image.fromarray(rng.choice(levels, (height, width, 3)).astype(np.uint8))


def encoded(picture: PIL.Image.Image, form: str = "PNG", **options: object) -> Image:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return Image(data=stream.getvalue())


def array(part: Image, config: ImageConfig = CONFIG) -> np.ndarray:
    picture = load_image(part, config)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def levels_apart(ours: Tiles, theirs: np.ndarray, std: tuple[float, ...]) -> float:
    """The largest difference of two normalised pictures, in levels of 255."""
    mine = np.stack(ours.values)
    assert mine.shape == theirs.shape
    assert mine.dtype == np.float32
    return float(np.abs((mine - theirs) * np.array(std)[:, None, None] * 255).max())


# What the published processors make


PROCESSORS: dict[str, tuple[Callable[[], object], dict[str, object]]] = {
    "clip": (CLIPImageProcessorPil, {"resize": "crop", "size": (224, 224)}),
    "clip of other sizes": (
        lambda: CLIPImageProcessorPil(size={"shortest_edge": 70}, crop_size={"height": 64, "width": 80}),
        {"resize": "crop", "size": (64, 80), "shortest_edge": 70},
    ),
    "siglip": (SiglipImageProcessorPil, {"size": (224, 224)}),
    "siglip in lanczos": (lambda: SiglipImageProcessorPil(resample=1), {"size": (224, 224)}),
    "vit": (ViTImageProcessorPil, {"size": (224, 224)}),
    "vit by the nearest": (lambda: ViTImageProcessorPil(resample=0), {"size": (224, 224)}),
}
SIZES = [(64, 64), (480, 640), (640, 480), (1, 1), (1, 40), (40, 1), (225, 224), (300, 310), (1000, 90), (90, 1000)]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_published_processors_within_one_level(name: str, size: tuple[int, int]) -> None:
    make, settings = PROCESSORS[name]
    theirs = make()
    config = ImageConfig(
        mean=theirs.image_mean, std=theirs.image_std, resample=FILTERS[int(theirs.resample)], **settings
    )
    for kind in KINDS:
        picture = drawn(*size, kind)
        expected = theirs(picture, return_tensors="np")["pixel_values"]
        assert levels_apart(image_tiles(picture, config), expected, config.std) <= 1.001, kind


@pytest.mark.parametrize("size", [(60, 64), (200, 100), (64, 200), (1, 30), (64, 64), (500, 431)])
@pytest.mark.parametrize(("tile", "longest"), [(32, 128), (40, 100), (64, 64)])
def test_tiles_equal_idefics3(size: tuple[int, int], tile: int, longest: int) -> None:
    theirs = Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile})
    config = ImageConfig(resize="tiles", resample="lanczos", size=(tile, tile), longest_edge=longest)
    picture = drawn(*size)
    expected = theirs(picture, return_tensors="np", return_row_col_info=True)
    ours = image_tiles(picture, config)
    assert (ours.rows, ours.columns) == (expected["rows"][0][0], expected["cols"][0][0])
    assert levels_apart(ours, expected["pixel_values"][0], config.std) <= 1.001


def test_a_picture_of_one_tile_is_not_cut() -> None:
    tiles = image_tiles(drawn(20, 30), ImageConfig(resize="tiles", size=(32, 32), longest_edge=32))
    assert (len(tiles.values), tiles.rows, tiles.columns) == (1, 0, 0)


@given(
    st.tuples(*[st.integers(1, 120)] * 4),
    st.sampled_from(["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]),
    st.sampled_from(KINDS),
)
def test_any_resizing_is_within_one_level_of_pillow(sizes: tuple[int, int, int, int], resample: str, kind: str) -> None:
    height, width, to_height, to_width = sizes
    picture = drawn(height, width, kind)
    config = ImageConfig(size=(to_height, to_width), resample=resample, mean=(0, 0, 0), std=(1, 1, 1))
    expected = np.asarray(picture.resize((to_width, to_height), PIL.Image.Resampling[resample.upper()]))
    assert levels_apart(image_tiles(picture, config), expected.transpose(2, 0, 1)[None] / 255, config.std) <= 1.001


def test_what_needs_no_resizing_is_only_normalised() -> None:
    config = ImageConfig(size=(5, 7), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    picture = drawn(5, 7)
    expected = (np.asarray(picture) / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 1.0]
    np.testing.assert_allclose(image_tiles(picture, config).values[0], expected.transpose(2, 0, 1), atol=1e-6)


def test_padding_keeps_the_aspect_in_the_middle_of_the_background() -> None:
    config = ImageConfig(size=(40, 40), resize="pad", background=(0, 0, 1), mean=(0, 0, 0), std=(1, 1, 1))
    values = image_tiles(PIL.Image.new("RGB", (80, 40), "red"), config).values[0]
    assert (values[:, 10:30] == np.array([1, 0, 0])[:, None, None]).all()
    assert (values[:, :10] == np.array([0, 0, 1])[:, None, None]).all()
    assert (values[:, 30:] == np.array([0, 0, 1])[:, None, None]).all()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad", "tiles"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300_000), (300_000, 1)])
def test_dots_and_threads_of_pictures_take_no_more_room(resize: str, size: tuple[int, int]) -> None:
    tiles = image_tiles(PIL.Image.new("RGB", size, "red"), ImageConfig(resize=resize, size=(32, 32)))
    assert {values.shape for values in tiles.values} == {(3, 32, 32)}
    assert len(tiles.values) <= 17
    np.testing.assert_allclose(tiles.values[0][:, 15, 15], [1, -1, -1], atol=1e-6)


# What a file may hold


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "TGA", "ICO", "JPEG2000", "PCX", "DDS"])
def test_lossless_formats_are_read_as_they_are(form: str) -> None:
    picture = PIL.Image.new("RGB", (16, 16), (250, 120, 10))
    options = {"lossless": True} if form == "WEBP" else {}
    assert (array(encoded(picture, form, **options)) == np.array([250, 120, 10])).all()


def test_jpeg_is_read_about_as_it_is() -> None:
    assert np.abs(array(encoded(PIL.Image.new("RGB", (16, 16), (250, 120, 10)), "JPEG")) - [250.0, 120, 10]).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_followed(orientation: int) -> None:
    upright = drawn(5, 8)
    turns = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_90,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_270,
    }
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    assert (array(encoded(stored, exif=exif.tobytes())) == np.asarray(upright)).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"\0" * 40])
def test_broken_exif_leaves_the_picture_as_it_is(exif: bytes) -> None:
    picture = drawn(5, 8)
    assert (array(encoded(picture, exif=exif)) == np.asarray(picture)).all()


def test_what_is_transparent_shows_the_background() -> None:
    half = PIL.Image.new("RGBA", (2, 1), (255, 0, 0, 128))
    half.putpixel((1, 0), (9, 9, 9, 0))
    assert array(encoded(half)).tolist() == [[[255, 127, 127], [255, 255, 255]]]
    black = ImageConfig(background=(0, 0, 0))
    assert array(encoded(half), black).tolist() == [[[128, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB", "1"])
def test_every_kind_of_transparency_is_composited(mode: str) -> None:
    clear = {"LA": (7, 0), "P": 0, "L": 7, "RGB": (7, 7, 7), "1": 0}[mode]
    options = {} if mode == "LA" else {"transparency": clear}
    assert (array(encoded(PIL.Image.new(mode, (3, 3), clear), **options)) == 255).all()


def test_sixteen_bit_greys_keep_their_full_range() -> None:
    deep = PIL.Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    assert array(encoded(deep, "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert array(encoded(deep, "TIFF"))[0, :, 0].tolist() == [0, 1, 128, 255]
    pgm = b"P5\n4 1\n65535\n" + np.array([0, 257, 32896, 65535], ">u2").tobytes()
    assert array(Image(data=pgm))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 51.0, 255.0], [0, 51, 255]), ([-1.0, 0.0, 1.0], [0, 128, 255])],
)
def test_floats_are_read_by_their_range(levels: list[float], expected: list[int]) -> None:
    assert array(encoded(PIL.Image.fromarray(np.array([levels], np.float32)), "TIFF"))[0, :, 0].tolist() == expected


def test_floats_that_are_no_numbers_are_an_error() -> None:
    part = encoded(PIL.Image.fromarray(np.array([[0.0, np.nan]], np.float32)), "TIFF")
    with pytest.raises(DataError, match="levels that are no numbers"):
        load_image(part, CONFIG)


def test_other_colour_spaces_become_rgb() -> None:
    red = PIL.Image.new("RGB", (8, 8), (255, 0, 0))
    assert (array(encoded(red.convert("CMYK"), "TIFF")) == [255, 0, 0]).all()
    assert np.abs(array(encoded(red.convert("CMYK"), "JPEG")) - [255.0, 0, 0]).max() < 6
    assert (array(encoded(red.convert("L"))) == 76).all()
    assert (array(encoded(red.convert("P"))) == [255, 0, 0]).all()
    assert (array(encoded(PIL.Image.new("1", (4, 4), 1))) == 255).all()
    srgb, lab = PIL.ImageCms.createProfile("sRGB"), PIL.ImageCms.createProfile("LAB")
    as_lab = PIL.ImageCms.profileToProfile(red, srgb, lab, outputMode="LAB")
    assert np.abs(array(encoded(as_lab, "TIFF")) - [255.0, 0, 0]).max() < 6


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_what_moves_the_first_frame_is_seen(form: str) -> None:
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    part = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert (array(part) == [255, 0, 0]).all()


# Where it may be


def test_data_file_and_data_address_are_the_same(tmp_path: Path) -> None:
    part = encoded(drawn(6, 5))
    path = tmp_path / "a.bin"  # what the name ends in says nothing
    path.write_bytes(part.data)
    address = "data:image/png;base64," + base64.b64encode(part.data).decode()
    for other in (Image(path=path), Image(url=address), Image(url=address.replace("+", "%2B"))):
        assert (array(other) == array(part)).all()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.org/a.png", "fetch it first"),
        ("file:///etc/passwd", "fetch it first"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,!!!!", "not base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:,hello%20there%20you", "no picture that can be read: it holds text"),
    ],
)
def test_addresses_are_not_fetched(url: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_image(Image(url=url), CONFIG)


def test_files_that_are_none_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        load_image(Image(path=tmp_path / "none.png"), CONFIG)
    with pytest.raises(DataError, match="is a folder"):
        load_image(Image(path=tmp_path), CONFIG)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="not a plain file"):
        load_image(Image(path=tmp_path / "pipe.png"), CONFIG)
    with pytest.raises(DataError, match="cannot be read"):
        load_image(Image(path=Path("a\0b.png")), CONFIG)


# Bad input


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    return head + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(DataError, match=r"image 50000x50000 exceeds 40 megapixels \(set max_pixels"):
        load_image(Image(data=png_header(50_000, 50_000)), CONFIG)


def test_the_limit_on_pixels_is_ours_alone() -> None:
    with pytest.raises(DataError, match="no picture that can be read"):  # past the limit, and broken beyond its header
        load_image(Image(data=png_header(50_000, 2)), CONFIG)
    small = ImageConfig(max_pixels=100)
    assert array(encoded(drawn(10, 10)), small).shape == (10, 10, 3)
    with pytest.raises(DataError, match=r"image 11x10 exceeds 0.0001 megapixels"):
        load_image(encoded(drawn(10, 11)), small)
    with pytest.raises(DataError, match="megapixels"):
        load_image(Image(data=png_header(20_000, 20_000)), ImageConfig(max_pixels=300_000_000))


@pytest.mark.parametrize("form", ["ICO", "ICNS"])
def test_a_bomb_inside_another_file_is_refused_by_its_header(form: str) -> None:
    inner, theirs = png_header(8_000, 8_000), PIL.Image.MAX_IMAGE_PIXELS
    if form == "ICO":
        whole = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    else:
        whole = b"icns" + struct.pack(">I4sI", len(inner) + 16, b"icp4", len(inner) + 8) + inner
    with pytest.raises(DataError, match="exceeds limit of 40000000 pixels"):
        load_image(Image(data=whole), CONFIG)
    assert theirs == PIL.Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("form", "side"), [("ICO", 32), ("ICNS", 1024)])  # Pillow writes every size of an ICNS
def test_pictures_inside_another_file_are_read(form: str, side: int) -> None:
    assert load_image(encoded(drawn(32, 32), form), CONFIG).size == (side, side)


def test_the_limit_on_bytes_comes_before_reading(tmp_path: Path) -> None:
    part = encoded(drawn(30, 30))
    size = len(part.data)
    path = tmp_path / "a.png"
    path.write_bytes(part.data)
    for other in (part, Image(path=path), Image(url="data:;base64," + base64.b64encode(part.data).decode())):
        assert array(other, ImageConfig(max_bytes=size + 2)).shape == (30, 30, 3)
        with pytest.raises(DataError, match=r"bytes, more than 100 \(set max_bytes\)"):
            load_image(other, ImageConfig(max_bytes=100))


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (SVG, "it is a drawing of lines and shapes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "it is a drawing of lines and shapes"),
        (b"This is no picture at all.\n", r"it holds text \('This is no picture a' …\)"),
        ("这不是图片。".encode() * 50, "it holds text"),
        (b"\x93\xfa\x01\x02" * 50, "no picture that can be read"),
        (b"\x89PNG\r\n\x1a\n", "no picture that can be read"),
        (b"GIF89a", "no picture that can be read"),
        (b"P6\n64 64\n255\n" + bytes(100), "no picture that can be read"),
        (b"P6\n64 -3\n255\n" + bytes(100), "no picture that can be read"),
    ],
)
def test_what_is_no_picture_is_a_clear_error(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_image(Image(data=data), CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_picture_that_is_cut_short_is_an_error(form: str) -> None:
    data = encoded(drawn(64, 64), form).data
    for kept in (len(data) // 2, len(data) * 9 // 10, 20):
        with pytest.raises(DataError, match="no picture that can be read"):
            load_image(Image(data=data[:kept]), CONFIG)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about tags that make no sense
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "PPM", "TGA"])
def test_bits_that_flipped_never_crash(form: str) -> None:
    rng = np.random.default_rng(1)
    data = np.frombuffer(encoded(drawn(24, 24, "gradient"), form).data, np.uint8)
    for _ in range(40):
        broken = data.copy()
        broken[rng.integers(0, min(len(data), 200), 4)] = rng.integers(0, 256, 4)
        with contextlib.suppress(DataError):
            assert load_image(Image(data=broken.tobytes()), ImageConfig(max_pixels=10**6)).mode == "RGB"


def test_real_pictures_are_read(shared_data: Path) -> None:
    with tarfile.open(shared_data / "storybook_images" / "images_160px.tar") as tar:
        files = [tar.extractfile(member) for member, _ in zip((m for m in tar if m.isfile()), range(5), strict=False)]
        parts = [Image(data=file.read()) for file in files]
    for part in parts:
        assert image_tiles(load_image(part, CONFIG), CONFIG).values[0].shape == (3, 64, 64)
