"""The image codec: a grid of codes, the same however it is come by."""

from __future__ import annotations

import pytest
import torch
from making import IMAGE_CODEC, shaken

from sensorium.codecs.image import ImageCodec
from sensorium.config import ImageCodecConfig
from sensorium.errors import ConfigError, RequestError


@pytest.fixture(scope="module")
def codec() -> ImageCodec:
    made = ImageCodec(ImageCodecConfig(**IMAGE_CODEC))
    made.reset_parameters(torch.Generator().manual_seed(0))
    shaken(made, 0.1)
    return made


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(8, 12), (4, 4), (16, 8), (4, 40)])
@torch.inference_mode()
def test_any_size_that_divides_becomes_a_grid_and_comes_back(codec: ImageCodec, height: int, width: int) -> None:
    codes = codec.encode(pixels(2, 3, height, width))
    assert codes.shape == (2, height // 4, width // 4)
    assert codes.min() >= 0
    assert codes.max() < 12
    drawn = codec.decode(codes)
    assert drawn.shape == (2, 3, height, width)
    assert drawn.abs().max() <= 1


@torch.inference_mode()
def test_what_is_learned_on_is_what_codes_give_back_up_to_the_clip(codec: ImageCodec) -> None:
    shown = pixels(3, 3, 8, 12)
    drawn, codes = codec(shown)
    assert torch.equal(codes, codec.encode(shown))
    assert torch.equal(drawn.clamp(-1, 1), codec.decode(codes))
    assert torch.equal(codec.decode(codes), codec.decode(codec.encode(shown)))
    assert len(codes.unique()) > 3


@torch.inference_mode()
def test_pictures_side_by_side_are_as_each_alone(codec: ImageCodec) -> None:
    shown = pixels(5, 3, 8, 12)
    codes = codec.encode(shown)
    together = codec.decode(codes)
    for one, row, drawn in zip(shown, codes, together, strict=True):
        assert torch.equal(codec.encode(one[None])[0], row)
        torch.testing.assert_close(codec.decode(row[None])[0], drawn, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape", [(1, 3, 8, 10), (1, 3, 6, 12), (1, 1, 8, 12), (3, 8, 12), (0, 3, 8, 12), (1, 3, 0, 4)]
)
def test_pixels_that_do_not_fit_are_refused(codec: ImageCodec, shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"do not fit this codec, which takes .* in multiples of 4"):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("codes", [torch.zeros(2, 3), torch.zeros(0, 2, 3), torch.zeros(1, 0, 3)])
def test_codes_that_are_no_grid_are_refused(codec: ImageCodec, codes: torch.Tensor) -> None:
    with pytest.raises(RequestError, match="are no pictures"):
        codec.decode(codes.long())
    with pytest.raises(RequestError, match=r"code 12 is outside the codebook of 0\.\.11"):
        codec.decode(torch.full((1, 2, 3), 12))


def test_fresh_weights_are_those_of_their_seed() -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        made = ImageCodec(ImageCodecConfig(**IMAGE_CODEC))
        made.reset_parameters(torch.Generator().manual_seed(seed))
        return made.state_dict()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not torch.equal(first["to_code.weight"], other["to_code.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (8, 10)}, r"size \(8, 10\) does not divide by the 4 pixels of a code"),
        ({"decoder_depths": (1,)}, "1 decoder_depths for 2 dims: one for each"),
        ({"encoder_depths": (1, 1, 1)}, "3 encoder_depths for 2 dims: one for each"),
        ({"dims": (8, 20)}, "dims"),
        ({"levels": (1, 3)}, "levels"),
    ],
)
def test_settings_that_make_no_codec_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageCodecConfig.parse({**IMAGE_CODEC, **settings}, "test")


@pytest.mark.parametrize("dim", [8, 16, 24, 32, 48, 100])
def test_widths_that_are_taken_can_be_built(dim: int) -> None:
    """Norms count in groups: a width that they cannot divide is refused with the settings, not by a layer."""
    settings = {**IMAGE_CODEC, "dims": (8, dim)}
    if dim in (24, 100):
        with pytest.raises(ConfigError, match="must be 8 or multiples of 16"):
            ImageCodecConfig.parse(settings, "test")
    else:
        assert ImageCodec(ImageCodecConfig(**settings)).encode(torch.zeros(1, 3, 8, 12)).shape == (1, 2, 3)
