"""Mimi gives the codes and waveforms of transformers' implementation, for a reason each, in one piece or in many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_codecs import FRAME, change_tensor, sounds, write_mimi
from published_models import difference, edit_config, rename
from safetensors.torch import load_file
from torch import Tensor

from sensorium.codecs.mimi import Mimi, Past
from sensorium.codecs.streaming import FrameStream, stream_of
from sensorium.config import MimiConfig
from sensorium.errors import CheckpointError, ConfigError, RequestError, SensoriumError
from sensorium.hub import encoder_names as names
from sensorium.hub.assemble import blank_module
from sensorium.hub.codec_settings import read_mimi
from sensorium.hub.codecs import load_speech_codec
from sensorium.hub.encoders import shapes_of

TOLERANCE, BREAKS = 1e-4, 1e-3


def load(folder: Path, codebooks: int | None = None) -> Mimi:
    codec = load_speech_codec(folder, codebooks=codebooks)
    assert isinstance(codec, Mimi)
    return codec


@torch.no_grad()
def spoken(model: transformers.MimiModel, samples: Tensor, codebooks: int) -> tuple[Tensor, Tensor]:
    """The reference's codes as one row, frame by frame with each codebook in its own part, and its waveforms."""
    codes = model.encode(samples[:, None], num_quantizers=codebooks).audio_codes  # (n, codebooks, frames)
    made = model.decode(codes).audio_values[:, 0]
    assert made.abs().max() < 1
    parts = torch.arange(codebooks)[:, None] * model.config.codebook_size
    return (codes + parts).transpose(1, 2).flatten(1), made


def switched(codec: Mimi, **changes: Any) -> Mimi:
    """The same weights under other settings."""
    other = Mimi(codec.config.model_copy(update=changes))
    other.load_state_dict(codec.state_dict())
    return other.eval()


# Settings of theirs, how many codebooks, and what to change in ours: the comparison must then fail.
CASES: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "usual": ({}, 5, {"n_heads": 2}),
    "fewer codebooks": ({}, 3, {"window": 3}),
    "what is semantic alone": ({}, 1, {"rope_theta": 100.0}),
    "two that are semantic": ({"num_semantic_quantizers": 2}, 4, {"n_heads": 2}),
    "a narrow window": ({"sliding_window": 2}, 5, {"window": 6}),
    "a window beyond the sound": ({"sliding_window": 500}, 5, {"window": 20}),
    "other turns": ({"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}, 5, {"rope_theta": 10_000.0}),
    "norm eps": ({"norm_eps": 0.1}, 5, {"norm_eps": 1e-5}),
    "odd ratios": ({"upsampling_ratios": [5, 3]}, 5, {"n_heads": 8}),
    "three sizes": ({"upsampling_ratios": [2, 3, 2]}, 5, {"window": 2}),
    "more residuals": ({"num_residual_layers": 3}, 5, {"dilation_growth": 3}),
    "other dilations": ({"num_residual_layers": 2, "dilation_growth_rate": 3}, 5, {"dilation_growth": 2}),
    "no residuals": ({"num_residual_layers": 0}, 5, {"n_heads": 2}),
    "other kernels": ({"kernel_size": 5, "last_kernel_size": 5, "residual_kernel_size": 2}, 5, {"n_heads": 2}),
    "no compression": ({"compress": 1}, 5, {"n_heads": 2}),
    "groups": ({"upsample_groups": 4}, 5, {"n_heads": 2}),
    "slower frames": ({"frame_rate": 250.0}, 5, {"window": 2}),
    "wider codes": ({"codebook_dim": 12, "vector_quantization_hidden_dimension": 12, "codebook_size": 64}, 5,
                    {"window": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_codes_and_waveforms_equal_the_reference_until_a_setting_is_changed(case: str, tmp_path: Path) -> None:
    settings, codebooks, changes = CASES[case]
    model, codec = write_mimi(tmp_path, **settings), load(tmp_path, codebooks)
    codes, made = spoken(model, sounds(), codebooks)
    assert codes.unique().numel() >= 4 * codebooks
    with torch.no_grad():
        assert torch.equal(codec.encode(sounds()), codes)
        assert difference(codec.decode(codes), made) < TOLERANCE
        assert difference(switched(codec, **changes).decode(codes), made) > BREAKS


@pytest.mark.parametrize("time", [1, 7, FRAME, FRAME + 1, 5 * FRAME - 1, 90 * FRAME + 3])
def test_recordings_of_any_length(time: int, tmp_path: Path) -> None:
    model, codec = write_mimi(tmp_path), load(tmp_path)
    codes, made = spoken(model, sounds(time), 5)
    with torch.no_grad():
        assert torch.equal(codec.encode(sounds(time)), codes)
        assert difference(codec.decode(codes), made) < TOLERANCE
    assert codes.shape[1] == -(-time // FRAME) * 5
    assert made.shape[1] == codes.shape[1] * codec.config.samples_per_code


@pytest.mark.parametrize("name", ["semantic.tables.0", "acoustic.tables.3", "decoder_context.blocks.1.mlp_scale"])
def test_one_weight_changes_the_sound(name: str, tmp_path: Path) -> None:
    model, codec = write_mimi(tmp_path), load(tmp_path)
    codes, made = spoken(model, sounds(), 5)
    with torch.no_grad():
        codec.state_dict()[name].mul_(0.5).add_(0.3)
        assert difference(codec.decode(codes), made) > BREAKS


@pytest.mark.parametrize(
    "name",
    [
        "encoder_transformer.layers.0.self_attn_layer_scale.scale",
        "quantizer.acoustic_residual_vector_quantizer.layers.0.codebook.cluster_usage",
        "quantizer.semantic_residual_vector_quantizer.layers.0.codebook.embed_sum",
    ],
)
def test_one_stored_tensor_changes_the_codes(name: str, tmp_path: Path) -> None:
    codes, _ = spoken(write_mimi(tmp_path), sounds(), 5)
    change_tensor(tmp_path, name)
    assert not torch.equal(load(tmp_path).encode(sounds()), codes)


def test_every_tensor_matters(tmp_path: Path) -> None:
    codes, _ = spoken(write_mimi(tmp_path), sounds(), 5)
    codec = load(tmp_path)

    @torch.no_grad()
    def outputs() -> Tensor:
        x = sounds()[:, None]
        for layer in codec.encoder:
            x = layer(x)
        x = codec.downsample(codec.encoder_context(x))
        assert codec.acoustic is not None
        parts = [codec.semantic.to_code(x), codec.acoustic.to_code(x), codec.decode(codes)]
        return torch.cat([part.flatten() for part in parts])

    before = outputs()
    for name, tensor in codec.state_dict().items():
        kept = tensor.clone()
        tensor.mul_(0.5).add_(0.1)
        assert difference(outputs(), before) > 1e-5, name
        tensor.copy_(kept)
    assert torch.equal(outputs(), before)


def test_a_vector_that_was_hardly_used_is_divided_by_no_less_than_is_usual(tmp_path: Path) -> None:
    model = write_mimi(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    used = tensors["quantizer.semantic_residual_vector_quantizer.layers.0.codebook.cluster_usage"]
    used[3] = 0.0
    rename(tmp_path, tensors, lambda name: name)
    model = transformers.MimiModel.from_pretrained(tmp_path)
    expected = model.quantizer.semantic_residual_vector_quantizer.layers[0].codebook.embed
    assert torch.equal(load(tmp_path).semantic.tables[0], expected)


def flat(name: str) -> str:
    """What published files call a tensor of `MimiModel`."""
    name = re.sub(r"^(encoder|decoder)\.\1_seanet\.", r"\1.", name)
    return re.sub(r"^(?:encoder|decoder)\.((?:encoder|decoder)_transformer|downsample|upsample)\.", r"\1.", name)


def test_the_published_sizes_have_a_place_for_every_tensor() -> None:
    config = read_mimi({"model_type": "mimi", "frame_rate": 12.5}, "config.json", 32)
    assert (config.sample_rate, config.samples_per_frame, config.codes_per_second) == (24_000, 1920, 400.0)
    shapes = shapes_of(blank_module(lambda: Mimi(config)))
    ours = {piece.theirs[0]: shapes[piece.ours[0]] for piece in names.pieces(names.MIMI, shapes)}
    with torch.device("meta"):
        stored = transformers.MimiModel(transformers.MimiConfig()).state_dict()
    theirs = {
        flat(name).replace("embed_sum", "embed"): tuple(tensor.shape)
        for name, tensor in stored.items()
        if not name.endswith(("cluster_usage", "initialized"))
    }
    assert ours == theirs


def test_eight_codebooks_are_used_unless_more_are_asked_for() -> None:
    raw = {"model_type": "mimi"}
    config = read_mimi(raw, "config.json")
    assert (config.n_codebooks, config.codebook_size, config.codes_per_second) == (8, 16_384, 100.0)
    assert read_mimi(raw | {"num_quantizers": 4}, "config.json").n_codebooks == 4
    with pytest.raises(ConfigError, match="has 32 codebooks, not 33"):
        read_mimi(raw, "config.json", 33)
    with pytest.raises(ConfigError, match="leave out some of the 2 semantic ones"):
        read_mimi(raw | {"num_semantic_quantizers": 2}, "config.json", 1)


def test_each_place_has_the_codes_of_its_codebook() -> None:
    config = MimiConfig(first_id=100, n_codebooks=3, entries=16)
    assert [config.candidates_at(place) for place in range(4)] == [
        range(100, 116), range(116, 132), range(132, 148), range(100, 116)
    ]  # fmt: skip
    assert config.ids == range(100, 148)
    assert not config.takes_voice
    assert config.voices == ()


# Decoded while its codes still come


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Mimi:
    folder = tmp_path_factory.mktemp("mimi")
    write_mimi(folder, num_residual_layers=2)
    return load(folder, 3)


def pieces_of(stream: FrameStream, codes: list[int]) -> Iterator[Tensor]:
    for code in codes:
        piece = stream.push(code)
        if piece is not None:
            yield piece
    rest = stream.flush()
    if rest is not None:
        yield rest


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_streamed_sound_is_that_of_one_piece(chunk: int, codec: Mimi) -> None:
    codes = codec.encode(sounds())[:1]
    stream = FrameStream(codec, chunk=chunk)
    whole = codec.decode(codes)[0]
    for _ in range(2):  # the second stretch knows nothing of the first
        pieces = list(pieces_of(stream, codes[0].tolist()))
        assert {len(piece) for piece in pieces[:-1]} <= {chunk * FRAME}
        assert difference(torch.cat(pieces), whole) < TOLERANCE
    assert stream.flush() is None


def test_a_stretch_that_goes_on_hears_what_was_before(codec: Mimi) -> None:
    codes = codec.encode(sounds())[:1]
    past = Past()
    codec.decode(codes[:, :60], past=past)
    after = codec.decode(codes[:, 60:], past=past)
    assert difference(after, codec.decode(codes)[:, 20 * FRAME :]) < TOLERANCE
    assert difference(codec.decode(codes[:, 60:]), after) > BREAKS


def test_nothing_looks_ahead(codec: Mimi) -> None:
    codes = codec.encode(sounds())[:1]
    assert difference(codec.decode(codes[:, :60]), codec.decode(codes)[:, : 20 * FRAME]) < TOLERANCE


def test_a_short_last_frame_is_left_out(codec: Mimi) -> None:
    codes = codec.encode(sounds())[:, :8]
    assert torch.equal(codec.decode(codes), codec.decode(codes[:, :6]))
    pieces = list(pieces_of(FrameStream(codec, chunk=1), codes[0].tolist()))
    assert sum(map(len, pieces)) == 2 * FRAME
    with pytest.raises(RequestError, match="2 codes are less than a frame, which has 3"):
        codec.decode(codes[:, :2])


def test_a_code_out_of_turn_is_refused(codec: Mimi) -> None:
    codes = codec.encode(sounds())[:1]
    codes[0, 4] = 40
    message = r"code 40 at place 4 is out of turn: there stands one of codebook 1, 16\.\.31"
    with pytest.raises(RequestError, match=message):
        codec.decode(codes)
    with pytest.raises(RequestError, match="code -1 at place 0"):
        codec.decode(torch.full((1, 3), -1))
    stream = stream_of(codec, None)
    stream.push(3)
    with pytest.raises(RequestError, match="code 4 at place 1 is out of turn"):
        stream.push(4)


def test_what_is_no_speech_is_refused(codec: Mimi) -> None:
    for shape in ((100,), (1, 0), (1, 1, 100)):
        with pytest.raises(RequestError, match="are no recordings"):
            codec.encode(torch.zeros(shape))
    with pytest.raises(RequestError, match="are no speech"):
        codec.decode(torch.zeros(3, dtype=torch.int64))


def test_fresh_weights_are_those_of_the_seed(codec: Mimi) -> None:
    one, two, other = Mimi(codec.config), Mimi(codec.config), Mimi(codec.config)
    for made, seed in ((one, 1), (two, 1), (other, 2)):
        made.reset_parameters(torch.Generator().manual_seed(seed))
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    for name, tensor in other.state_dict().items():
        drawn = "norm" not in name and "scale" not in name and not name.endswith("bias")
        assert torch.equal(tensor, one.state_dict()[name]) != drawn, name
    assert one.decode(one.encode(sounds())).std() > 1e-3


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another family": ({"model_type": "encodec"}, "is no codec of speech"),
    "stereo": ({"audio_channels": 2}, "audio_channels = 2 is not supported"),
    "sight of what is to come": ({"use_causal_conv": False}, "use_causal_conv = False is not supported"),
    "another padding": ({"pad_mode": "replicate"}, "pad_mode = 'replicate' is not supported"),
    "shortcuts": ({"use_conv_shortcut": True}, "use_conv_shortcut"),
    "shared keys": ({"num_key_value_heads": 2}, "num_key_value_heads = 2"),
    "wide heads": ({"head_dim": 16}, "head_dim 16 must be"),
    "biases": ({"attention_bias": True}, "attention_bias"),
    "another activation": ({"hidden_act": "relu"}, "hidden_act = 'relu'"),
    "scaled turns": ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope scaling is not supported"),
    "codebooks of another width": (
        {"vector_quantization_hidden_dimension": 16},
        "vector_quantization_hidden_dimension",
    ),
    "faster frames": ({"frame_rate": 1000}, "frame_rate 1000 is not supported"),
    "no rate": ({"frame_rate": "slow"}, "must be within 0.001 to 192000"),
    "a rate that is no number": ({"frame_rate": float("nan")}, "must be within 0.001 to 192000"),
    "hardly any rate": ({"frame_rate": 1e-320}, "must be within 0.001 to 192000"),
    "too many samples": ({"sampling_rate": 10**400}, "sampling_rate is above 192000"),
    "no ratios": ({"upsampling_ratios": [4, "2"]}, "must be whole numbers"),
    "fewer layers than stored": ({"num_hidden_layers": 1}, "holds the tensor"),
    "more layers than stored": ({"num_hidden_layers": 3}, "lacks the tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    write_mimi(tmp_path)
    changes, message = REFUSED[case]
    edit_config(tmp_path, changes)
    with pytest.raises(SensoriumError, match=message) as found:
        load_speech_codec(tmp_path)
    assert "\n" not in str(found.value)
    assert isinstance(found.value, ConfigError | CheckpointError)
