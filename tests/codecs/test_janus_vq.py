"""Janus's image codec gives the codes and pictures of transformers' implementation, for a reason each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_codecs import change_tensor, pictures, write_janus, write_janus_vq
from published_models import difference, edit_config, rename
from safetensors.torch import load_file
from torch import Tensor

from sensorium.codecs.janus_vq import JanusVQ
from sensorium.config import JanusVQConfig
from sensorium.errors import CheckpointError, ConfigError, RequestError, SensoriumError
from sensorium.hub import encoder_names as names
from sensorium.hub.assemble import blank_module
from sensorium.hub.codec_settings import read_janus_vq
from sensorium.hub.codecs import load_image_codec
from sensorium.hub.encoders import shapes_of
from sensorium.hub.settings import Settings

TOLERANCE, BREAKS = 1e-4, 1e-3


def load(folder: Path) -> JanusVQ:
    codec = load_image_codec(folder)
    assert isinstance(codec, JanusVQ)
    return codec


@torch.no_grad()
def drawn(model: transformers.JanusVQVAE, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of the reference in rows and columns, many of them, and its pictures, none of which is clipped."""
    side = model.config.num_patches
    codes = model.encode(pixels).image_tokens.view(-1, side, side)
    assert codes.unique().numel() > min(8, codes.numel() // 2)
    made = model.decode(codes.flatten(1))
    assert made.abs().max() < 1
    return codes, made


CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "one size more": {"channel_multiplier": [1, 1, 2, 1], "num_patches": 2},
    "one size": {"channel_multiplier": [1], "num_patches": 16},
    "deeper": {"num_res_blocks": 2},
    "other widths": {"base_channels": 32, "latent_channels": 7, "embed_dim": 3, "num_embeddings": 64},
}


@pytest.mark.parametrize("case", CASES)
def test_codes_and_pictures_equal_the_reference(case: str, tmp_path: Path) -> None:
    model, codec = write_janus_vq(tmp_path, **CASES[case]), load(tmp_path)
    assert codec.config.size == (16, 16)
    codes, made = drawn(model, pictures())
    with torch.no_grad():
        assert torch.equal(codec.encode(pictures()), codes)
        assert difference(codec.decode(codes), made) < TOLERANCE
        # The spread of what is compared comes of the codes, not of the last bias alone.
        assert difference(codec.decode(codes.flip(0)), made) > 0.1


@pytest.mark.parametrize("name", ["codebook.weight", "from_code.weight", "decoder.levels.0.attention.0.q.weight"])
def test_one_weight_changes_the_picture(name: str, tmp_path: Path) -> None:
    model, codec = write_janus_vq(tmp_path), load(tmp_path)
    codes, made = drawn(model, pictures())
    with torch.no_grad():
        codec.state_dict()[name].mul_(0.5).add_(0.3)
        assert difference(codec.decode(codes), made) > BREAKS


def test_one_stored_tensor_changes_the_codes(tmp_path: Path) -> None:
    codes, _ = drawn(write_janus_vq(tmp_path), pictures())
    change_tensor(tmp_path, "encoder.down.1.block.0.nin_shortcut.weight")
    assert not torch.equal(load(tmp_path).encode(pictures()), codes)


def test_every_tensor_matters(tmp_path: Path) -> None:
    pixels = pictures(8, 8)
    codes, _ = drawn(write_janus_vq(tmp_path, num_patches=2), pixels)
    codec = load(tmp_path)

    @torch.no_grad()
    def outputs() -> Tensor:
        return torch.cat([codec.to_code(codec.encoder(pixels)).flatten(), codec.decode(codes).flatten()])

    before = outputs()
    for name, tensor in codec.state_dict().items():
        if re.search(r"attention(\.\d+)?\.k\.bias", name):  # softmax is blind to it
            continue
        kept = tensor.clone()
        tensor.mul_(0.5).add_(0.1)
        assert difference(outputs(), before) > 1e-5, name
        tensor.copy_(kept)
    assert torch.equal(outputs(), before)


def test_the_codec_of_a_whole_janus_is_taken_out_of_it(tmp_path: Path) -> None:
    model, codec = write_janus(tmp_path).model.vqmodel, load(tmp_path)
    assert codec.config.grid == (4, 4)  # the eyes' patches, whatever vq_config says
    codes, made = drawn(model, pictures())
    with torch.no_grad():
        assert torch.equal(codec.encode(pictures()), codes)
        assert difference(codec.decode(codes), made) < TOLERANCE


LAYOUTS: dict[str, Callable[[str], str]] = {
    "the body alone": lambda name: name.removeprefix("model."),
    "the VQ model alone": lambda name: name.removeprefix("model.vqmodel."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_spellings_of_the_same_tensors(layout: str, tmp_path: Path) -> None:
    model = write_janus(tmp_path)
    before = load(tmp_path).state_dict()
    stored = model.state_dict()
    if layout == "the VQ model alone":
        stored = {name: tensor for name, tensor in stored.items() if "vqmodel" in name}
    rename(tmp_path, stored, LAYOUTS[layout])
    after = load(tmp_path).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_published_sizes_have_a_place_for_every_tensor() -> None:
    config = read_janus_vq(Settings({}, "config.json"), grid=24)
    assert (config.size, config.n_codes, config.codebook_size) == ((384, 384), 576, 16_384)
    shapes = shapes_of(blank_module(lambda: JanusVQ(config)))
    ours = {piece.theirs[0]: shapes[piece.ours[0]] for piece in names.pieces(names.JANUS_VQ, shapes) if piece.theirs}
    with torch.device("meta"):
        theirs = transformers.JanusVQVAE(transformers.JanusVQVAEConfig()).state_dict()
    assert ours == {name: tuple(tensor.shape) for name, tensor in theirs.items()}


def test_any_size_that_divides_is_taken(tmp_path: Path) -> None:
    write_janus_vq(tmp_path)
    codec = load(tmp_path)
    codes = codec.encode(pictures(8, 20))
    assert codes.shape == (2, 2, 5)
    assert codec.decode(codes).shape == (2, 3, 8, 20)
    assert codec.decode(codes).abs().max() <= 1


def test_fresh_weights_are_those_of_the_seed() -> None:
    config = JanusVQConfig(size=(16, 16), dim=32, multipliers=(1, 2), depth=1, latent_dim=8, entries=32, code_dim=4)
    one, two, other = JanusVQ(config), JanusVQ(config), JanusVQ(config)
    for codec, seed in ((one, 1), (two, 1), (other, 2)):
        codec.reset_parameters(torch.Generator().manual_seed(seed))
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.codebook.weight, other.codebook.weight)
    assert one.decode(one.encode(pictures())).isfinite().all()


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    write_janus_vq(tmp_path)
    codec = load(tmp_path)
    for shape in ((3, 16, 16), (1, 1, 16, 16), (1, 3, 16, 18), (0, 3, 16, 16)):
        with pytest.raises(RequestError, match="multiples of 4"):
            codec.encode(torch.zeros(shape))
    with pytest.raises(RequestError, match=r"code 40 is outside the codebook of 0\.\.39"):
        codec.decode(torch.tensor([[[3, 40]]]))
    with pytest.raises(RequestError, match="code -1 "):
        codec.decode(torch.tensor([[[-1]]]))
    with pytest.raises(RequestError, match="are no pictures"):
        codec.decode(torch.tensor([[1, 2]]))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another family": ({"model_type": "mimi"}, "is no codec of pictures"),
    "two numbers to a latent": ({"double_latent": True}, "double_latent = True is not supported"),
    "grey pictures": ({"in_channels": 1}, "in_channels = 1 is not supported"),
    "norms of other groups": ({"base_channels": 48}, "must be a multiple of 32"),
    "no sizes": ({"channel_multiplier": []}, "channel_multiplier = .* must be whole numbers"),
    "more blocks than stored": ({"num_res_blocks": 2}, "lacks the tensor"),
    "fewer blocks than stored": ({"channel_multiplier": [1, 2]}, "tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    write_janus_vq(tmp_path)
    changes, message = REFUSED[case]
    edit_config(tmp_path, changes)
    with pytest.raises(SensoriumError, match=message) as found:
        load_image_codec(tmp_path)
    assert "\n" not in str(found.value)
    assert isinstance(found.value, ConfigError | CheckpointError)


def test_a_tensor_too_many_is_refused(tmp_path: Path) -> None:
    write_janus_vq(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    rename(tmp_path, tensors | {"encoder.extra.weight": torch.zeros(1)}, lambda name: name)
    with pytest.raises(CheckpointError, match=r"holds the tensor 'encoder\.extra\.weight'"):
        load_image_codec(tmp_path)
