"""Qwen2-Audio read whole: the logits of `transformers` for what is heard, and the placeholders of its processor."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
from published_models import (
    BREAKS,
    TEXT,
    TOLERANCE,
    difference,
    edit_config,
    logits,
    randomise,
    rename,
    stored_names,
    switched,
)
from published_words import write_words
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.messages import Audio, Message, Text
from sensorium.nn.media import Media

VOCAB, AUDIO, MELS, FRAMES = 320, 303, 8, 200
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
EARS = {
    "model_type": "qwen2_audio_encoder", "num_mel_bins": MELS, "d_model": 24, "encoder_layers": 2,
    "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": FRAMES // 2,
}  # fmt: skip
LISTENER = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": MELS, "chunk_length": 2}


def build(audio: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **settings: Any) -> Any:
    ends = {"bos_token_id": 300, "eos_token_id": 302, "pad_token_id": None}
    config = transformers.Qwen2AudioConfig(
        audio_config=EARS | (audio or {}),
        text_config={"model_type": "qwen2", "vocab_size": VOCAB} | TEXT | ends | (text or {}),
        **({"audio_token_index": AUDIO} | settings),
    )
    made = transformers.Qwen2AudioForConditionalGeneration
    return randomise(made._from_config(config, attn_implementation="eager"))


def write(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    write_words(folder, SPECIALS, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    edit_config(folder, LISTENER, "preprocessor_config.json")
    return folder


def pooled(frames: int) -> int:
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def question(lengths: tuple[int, int] = (151, 36)) -> tuple[Tensor, Tensor, Tensor, Media]:
    """Ids with two recordings of so many frames among them, their log-mel and its mask, and all as our media."""
    counts = [pooled(length) for length in lengths]
    ids = [301, 5, 304, *[AUDIO] * counts[0], 305, 44, 304, *[AUDIO] * counts[1], 305, 7, 12, 99]
    sound = torch.randn(2, MELS, FRAMES, generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(FRAMES) < torch.tensor(lengths)[:, None]).long()
    places = torch.tensor([[0, 3, counts[0]], [0, 3 + counts[0] + 3, counts[1]]])
    media = Media(audio=sound, audio_frames=torch.tensor(lengths), audio_places=places)
    return torch.tensor([ids]), sound, mask, media


@torch.no_grad()
def expected(model: Any, lengths: tuple[int, int] = (151, 36)) -> Tensor:
    """Their logits, shown to depend on what is heard."""
    ids, sound, mask, _ = question(lengths)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "feature_attention_mask": mask}
    scores = model(input_features=sound, **given).logits[0]
    other = model(input_features=sound.flip(2), **given).logits[0]
    assert scores.std() > 0.5
    assert (scores - other).std() > 0.05 * scores.std()
    return scores


# name: (their settings; a change of ours that must break the comparison)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "features are averaged in pairs": ({}, {"speech": {"encoder": {"pool": 1}}}),
    "silence is hidden": ({}, {"speech": {"encoder": {"trim": False}}}),
    "heads": ({"audio": {"encoder_attention_heads": 4}}, {"speech": {"encoder": {"n_heads": 2}}}),
    "gelu": ({}, {"speech": {"encoder": {"activation": "relu"}}}),
    "relu": ({"audio": {"activation_function": "relu"}}, {"speech": {"encoder": {"activation": "gelu"}}}),
    "layers": ({"audio": {"encoder_layers": 3}}, {"speech": {"encoder": {"n_layers": 2}}}),
    "scale_embedding is without effect": (
        {"audio": {"scale_embedding": True}},
        {"speech": {"encoder": {"n_heads": 1}}},
    ),
    "projector bias": ({}, {"speech": {"projector": {"bias": False}}}),
    "words' biases": ({}, {"decoder": {"qkv_bias": False}}),
    "words by llama": ({"text": {"model_type": "llama"}}, {"decoder": {"n_kv_heads": 4}}),
    "norm eps": ({"text": {"rms_norm_eps": 0.1}}, {"decoder": {"norm_eps": 1e-6}}),
    "a window": (
        {"text": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}},
        {"decoder": {"sliding_window": None, "sliding_layers": None}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_until_the_setting_is_switched_off(case: str, tmp_path: Path) -> None:
    settings, off = CASES[case]
    reference = build(**settings)
    pretrained = load_pretrained(write(reference, tmp_path))
    ids, _, _, media = question()
    theirs = expected(reference)
    assert difference(logits(pretrained.model, ids, media), theirs) < TOLERANCE
    other = switched(pretrained.config, pretrained.model, off)
    assert difference(logits(other, ids, media), theirs) > BREAKS


@pytest.mark.parametrize("lengths", [(200, 199), (198, 5), (3, 4), (77, 150)])
def test_recordings_of_any_length_take_the_places_of_their_sound(lengths: tuple[int, int], tmp_path: Path) -> None:
    reference = build()
    pretrained = load_pretrained(write(reference, tmp_path))
    assert [pretrained.config.audio_places(length) for length in lengths] == [pooled(length) for length in lengths]
    ids, _, _, media = question(lengths)
    assert difference(logits(pretrained.model, ids, media), expected(reference, lengths)) < TOLERANCE


def published(name: str) -> str:
    """A name in memory as it was published before transformers 5."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    name = name.removeprefix("model.")
    return name.replace("language_model.", "language_model.model.", 1) if name.startswith("language_model.") else name


LAYOUTS: dict[str, Callable[[str], str]] = {"as published": published, "as in memory": lambda name: name}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_names_is_read(layout: str, tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    rename(tmp_path, reference.state_dict(), LAYOUTS[layout])
    if layout == "as published":
        names = stored_names(tmp_path)
        assert {"language_model.model.layers.0.self_attn.q_proj.bias", "language_model.lm_head.weight"} <= names
        assert {"multi_modal_projector.linear.weight", "audio_tower.layers.1.fc1.weight"} <= names
    ids, _, _, media = question()
    assert difference(logits(load_pretrained(tmp_path).model, ids, media), expected(reference)) < TOLERANCE


def test_every_tensor_matters(tmp_path: Path) -> None:
    model = load_pretrained(write(build(), tmp_path)).model
    ids, _, _, media = question()
    before = logits(model, ids, media)
    assert before is not None
    for name, tensor in model.state_dict().items():
        if name.endswith("attention.k.bias"):  # softmax is blind to it
            continue
        kept = tensor.clone()
        with torch.no_grad():
            tensor.mul_(0.5).add_(0.1)
        assert difference(logits(model, ids, media), before) > 1e-5, name
        with torch.no_grad():
            tensor.copy_(kept)


def sound(samples: int) -> np.ndarray:
    generator = np.random.default_rng(samples)
    wave = np.sin(np.arange(samples) * 2 * np.pi * 330 / 16_000) + 0.3 * generator.standard_normal(samples)
    return (0.3 * wave).astype(np.float32)


def as_part(samples: np.ndarray) -> Audio:
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format="WAV", subtype="FLOAT")
    return Audio(data=stream.getvalue())


@pytest.mark.parametrize("samples", [(31_999, 4_801), (32_000, 700)])
def test_a_conversation_is_written_as_the_processor_does(samples: tuple[int, int], tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    words = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ears = transformers.WhisperFeatureExtractor(feature_size=MELS, chunk_length=2)
    processor = transformers.Qwen2AudioProcessor(ears, words)  # with its own template, as it was published
    recordings = [sound(length) for length in samples]
    parts = [
        {"type": "audio", "audio_url": ""},
        {"type": "text", "text": "What is this?"},
        {"type": "audio", "audio_url": ""},
    ]
    conversation = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "A ball."},
        {"role": "user", "content": [{"type": "text", "text": "这是什么？"}]},
    ]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    theirs = processor(text=text, audio=recordings, sampling_rate=16_000, return_tensors="pt")

    pretrained = load_pretrained(tmp_path)
    assert pretrained.processor is not None
    shown = (as_part(recordings[0]), Text("What is this?"), as_part(recordings[1]))
    messages = [Message("user", shown), Message.assistant("A ball."), Message.user("这是什么？")]
    ours = pretrained.processor.encode_messages(messages, add_generation_prompt=True)
    assert ours.token_ids.tolist() == theirs["input_ids"][0].tolist()
    heard = theirs["feature_attention_mask"].sum(-1)
    assert [feature.frames for feature in ours.features] == heard.tolist()
    for feature, values in zip(ours.features, theirs["input_features"], strict=True):
        np.testing.assert_allclose(feature.values, values, atol=2e-3)
    places = torch.tensor([(0, feature.start, feature.length) for feature in ours.features])
    media = Media(audio=theirs["input_features"], audio_frames=heard, audio_places=places)
    with torch.no_grad():
        scores = reference(**theirs).logits[0]
    assert difference(logits(pretrained.model, theirs["input_ids"], media), scores) < TOLERANCE


def test_saved_as_ours_it_stays_the_same(tmp_path: Path) -> None:
    reference = build()
    pretrained = load_pretrained(write(reference, tmp_path / "theirs"))
    save_pretrained(pretrained, tmp_path / "ours")
    again = load_pretrained(tmp_path / "ours")
    assert again.config == pretrained.config
    ids, _, _, media = question()
    assert difference(logits(again.model, ids, media), expected(reference)) < TOLERANCE
    messages = [Message("user", (as_part(sound(9_000)), Text("?")))]
    assert again.processor is not None
    assert pretrained.processor is not None
    first, second = (each.encode_messages(messages) for each in (again.processor, pretrained.processor))
    assert first.token_ids.tolist() == second.token_ids.tolist()


EARS_FILE = "preprocessor_config.json"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("config.json", {"audio_config": {"model_type": "wav2vec2"}}, "model_type 'wav2vec2' is not supported"),
    ("config.json", {"audio_config": {"activation_function": "mish"}}, "activation_function 'mish' is not supported"),
    ("config.json", {"audio_config": {"num_mel_bins": 9}}, "recordings have 8 mels, but the encoder reads 9"),
    ("config.json", {"audio_config": {"max_source_positions": 50}}, "windows of 200 frames, but the encoder reads 100"),
    ("config.json", {"audio_token_index": 5}, "audio_token_id = 5 is no control token"),
    ("config.json", {"text_config": {"model_type": "bert"}}, "model_type 'bert' is not supported"),
    ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
    (EARS_FILE, {"chunk_length": 30}, "windows of 3000 frames, but the encoder reads 200"),
    (EARS_FILE, {"padding_side": "left"}, "padding_side = 'left' is not supported"),
    (EARS_FILE, {"do_normalize": True}, "do_normalize = True is not supported"),
    (EARS_FILE, {"dither": 0.1}, "dither = 0.1 is not supported"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(), tmp_path_factory.mktemp("qwen2_audio"))


@pytest.mark.parametrize(("file", "changes", "message"), REFUSED)
def test_what_we_do_not_compute_is_refused(
    file: str, changes: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    for each in folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    edit_config(tmp_path, changes, file)
    with pytest.raises(ConfigError, match=message) as found:
        load_pretrained(tmp_path)
    assert "\n" not in str(found.value)


def test_a_missing_or_surplus_tensor_is_named(tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    rename(tmp_path, reference.state_dict(), published)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    lost = "multi_modal_projector.linear.bias"
    save_file({name: tensor for name, tensor in whole.items() if name != lost}, path)
    with pytest.raises(CheckpointError, match=f"lacks the tensor '{lost}'"):
        load_pretrained(tmp_path)
    save_file(whole | {"audio_tower.layers.7.fc1.bias": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"layers\.7\.fc1\.bias', which the configuration has no use for"):
        load_pretrained(tmp_path)
