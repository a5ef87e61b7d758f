"""LLaVA read whole: the logits of `transformers`, from the same pixels, and the placeholders of its processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_models import (
    BREAKS,
    EYES,
    TEXT,
    TOLERANCE,
    as_part,
    difference,
    edit_config,
    logits,
    randomise,
    rename,
    snapshot,
    spans,
    stored_names,
    switched,
)
from published_words import write_words
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.messages import Message, Text
from sensorium.nn.media import Media

VOCAB, IMAGE = 320, 303
SPECIALS = ("<s>", "</s>", "<unk>", "<image>")
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
CLIP = EYES | {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 4}
SIGLIP = CLIP | {"model_type": "siglip_vision_model"}
FULL = {"vision_feature_select_strategy": "full"}
ENDS = {"bos_token_id": 300, "eos_token_id": 301, "pad_token_id": None}


def build(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **settings: Any) -> Any:
    config = transformers.LlavaConfig(
        vision_config=CLIP | (vision or {}),
        text_config={"model_type": "llama", "vocab_size": VOCAB} | TEXT | ENDS | (text or {}),
        **({"image_token_index": IMAGE} | settings),
    )
    model = randomise(transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager"))
    model.tie_weights()
    return model


def write(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    write_words(folder, SPECIALS, template=TEMPLATE, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    return folder


def places(model: Any) -> int:
    eyes = model.config.vision_config
    extra = eyes.model_type == "clip_vision_model" and model.config.vision_feature_select_strategy == "full"
    return (eyes.image_size // eyes.patch_size) ** 2 + extra


def question(model: Any) -> tuple[Tensor, Tensor, Media]:
    """Ids with two pictures among them, their pixels, and both as our media."""
    count = places(model)
    ids = [300, 5, 9, *[IMAGE] * count, 44, 45, *[IMAGE] * count, 7, 12, 99]
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    media = Media(images=pixels, image_places=torch.tensor(spans(ids, IMAGE, count)))
    return torch.tensor([ids]), pixels, media


@torch.no_grad()
def expected(model: Any) -> Tensor:
    """Their logits, shown to depend on what is seen."""
    ids, pixels, _ = question(model)
    scores = model(input_ids=ids, pixel_values=pixels).logits[0]
    other = model(input_ids=ids, pixel_values=pixels.flip(0)).logits[0]
    assert scores.std() > 0.5
    assert (scores - other).std() > 0.05 * scores.std()
    return scores


# name: (their settings, of which eyes and words by themselves; a change of ours that must break the comparison)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {"vision": {"encoder": {"class_token": False}}}),
    "layer": ({}, {"vision": {"encoder": {"n_layers": 1}}}),
    "last layer": ({"vision_feature_layer": -1}, {"vision": {"encoder": {"n_layers": 2}}}),
    "first layer": ({"vision_feature_layer": 1}, {"vision": {"encoder": {"embedding_norm": False}}}),
    "one layer in a list": ({"vision_feature_layer": [-1]}, {"vision": {"encoder": {"n_layers": 2}}}),
    "no final norm": ({"vision_feature_layer": -1}, {"vision": {"encoder": {"final_norm": True}}}),
    "class token": (FULL, {"vision": {"encoder": {"drop_class": True}}}),
    "projector gelu": ({}, {"vision": {"projector": {"activation": "relu"}}}),
    "projector relu": ({"projector_hidden_act": "relu"}, {"vision": {"projector": {"activation": "gelu"}}}),
    "projector bias": ({}, {"vision": {"projector": {"bias": False}}}),
    "projector without bias": ({"multimodal_projector_bias": False}, {"vision": {"projector": {"activation": "silu"}}}),
    "siglip": ({"vision": SIGLIP} | FULL, {"vision": {"encoder": {"activation": "gelu_quick"}}}),
    "siglip's last": ({"vision": SIGLIP, "vision_feature_layer": -1} | FULL,
                      {"vision": {"encoder": {"final_norm": True}}}),
    "clip gelu": ({"vision": {"hidden_act": "gelu"}}, {"vision": {"encoder": {"activation": "gelu_quick"}}}),
    "patches": ({"vision": {"patch_size": 8}}, {"vision": {"encoder": {"n_heads": 1}}}),
    "qwen2": ({"text": {"model_type": "qwen2"}}, {"decoder": {"qkv_bias": False}}),
    "mistral": ({"text": {"model_type": "mistral", "sliding_window": 9}}, {"decoder": {"sliding_window": None}}),
    "rope": ({"text": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}},
             {"decoder": {"rope_theta": 10_000.0}}),
    "norm eps": ({"text": {"rms_norm_eps": 0.1}}, {"decoder": {"norm_eps": 1e-6}}),
    "tied tables": ({"tie_word_embeddings": True}, {"decoder": {"n_kv_heads": 4}}),
    "image_seq_length is without effect": ({"image_seq_length": 7}, {"decoder": {"n_heads": 2}}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_until_the_setting_is_switched_off(case: str, tmp_path: Path) -> None:
    settings, off = CASES[case]
    reference = build(**settings)
    write(reference, tmp_path)
    pretrained = load_pretrained(tmp_path)
    ids, _, media = question(reference)
    theirs = expected(reference)
    assert difference(logits(pretrained.model, ids, media), theirs) < TOLERANCE
    other = switched(pretrained.config, pretrained.model, off)
    assert difference(logits(other, ids, media), theirs) > BREAKS


def published(name: str) -> str:
    """A name in memory as it was published before transformers 5."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    name = name.removeprefix("model.")
    name = name.replace("language_model.", "language_model.model.", 1) if name.startswith("language_model.") else name
    inside = name.removeprefix("vision_tower.").removeprefix("vision_model.")
    return f"vision_tower.vision_model.{inside}" if name.startswith("vision_tower.") else name


def flat(name: str) -> str:
    return name.replace("vision_tower.vision_model.", "vision_tower.")


LAYOUTS: dict[str, Callable[[str], str]] = {
    "as published": published,
    "as in memory": lambda name: name,
    "as in memory, flat": flat,
    "eyes nested": lambda name: flat(name).replace("vision_tower.", "vision_tower.vision_model."),
    "published, heads outside": lambda name: published(name).replace("language_model.lm_head", "lm_head"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_names_is_read(layout: str, tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    rename(tmp_path, reference.state_dict(), LAYOUTS[layout])
    names = stored_names(tmp_path)
    if layout == "as published":
        assert {
            "language_model.model.layers.0.self_attn.q_proj.weight",
            "language_model.lm_head.weight",
            "multi_modal_projector.linear_1.weight",
            "vision_tower.vision_model.embeddings.class_embedding",
            "vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight",
        } <= names
    buffers = {
        "vision_tower.vision_model.embeddings.position_ids": torch.arange(17)[None],
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    save_file(load_file(tmp_path / "model.safetensors") | buffers, tmp_path / "model.safetensors")
    ids, _, media = question(reference)
    assert difference(logits(load_pretrained(tmp_path).model, ids, media), expected(reference)) < TOLERANCE


def test_every_tensor_matters(tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    model = load_pretrained(tmp_path).model
    ids, _, media = question(reference)
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


@pytest.mark.parametrize("strategy", ["default", "full"])
def test_a_conversation_is_written_as_the_processor_does(strategy: str, tmp_path: Path) -> None:
    reference = build(vision_feature_select_strategy=strategy)
    write(reference, tmp_path)
    words = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    eyes = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}, resample=2, image_mean=[0.4, 0.5, 0.6]
    )
    processor = transformers.LlavaProcessor(
        eyes, words, patch_size=4, vision_feature_select_strategy=strategy, num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    processor.save_pretrained(tmp_path)
    pictures = [snapshot(), snapshot(24, 61)]
    parts = [{"type": "image"}, {"type": "text", "text": "What is this? <image>"}, {"type": "image"}]
    conversation = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]},
        {"role": "user", "content": [{"type": "text", "text": "这是什么？"}]},
    ]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    spelled = "What is this? <image>"  # which a user may write, and never becomes a picture
    theirs = processor(images=pictures, text=text.replace(spelled, "What is this? @@@"), return_tensors="pt")

    pretrained = load_pretrained(tmp_path)
    assert pretrained.processor is not None
    shown = (as_part(pictures[0]), Text("What is this? @@@"), as_part(pictures[1]))
    messages = [Message("user", shown), Message.assistant("A ball."), Message.user("这是什么？")]
    ours = pretrained.processor.encode_messages(messages, add_generation_prompt=True)
    assert ours.token_ids.tolist() == theirs["input_ids"][0].tolist()
    for feature, pixels in zip(ours.features, theirs["pixel_values"], strict=True):
        assert (torch.from_numpy(feature.values) - pixels).abs().max() < 1.01 / (255 * 0.26)
    starts = [(0, feature.start, feature.length) for feature in ours.features]
    media = Media(images=theirs["pixel_values"], image_places=torch.tensor(starts))
    with torch.no_grad():
        scores = reference(**theirs).logits[0]
    assert difference(logits(pretrained.model, theirs["input_ids"], media), scores) < TOLERANCE

    said = pretrained.processor.encode_messages([Message("user", (Text(spelled), as_part(pictures[0])))])
    assert len(said.features) == 1
    assert (said.token_ids == IMAGE).sum() == places(reference)


def test_what_ends_a_reply_is_known(tmp_path: Path) -> None:
    pretrained = load_pretrained(write(build(), tmp_path))
    assert pretrained.processor is not None
    assert 301 in {*pretrained.processor.stop_ids, *pretrained.sampling.stop_token_ids}


def test_saved_as_ours_it_stays_the_same(tmp_path: Path) -> None:
    reference = build()
    pretrained = load_pretrained(write(reference, tmp_path / "theirs"))
    save_pretrained(pretrained, tmp_path / "ours")
    again = load_pretrained(tmp_path / "ours")
    assert again.config == pretrained.config
    ids, _, media = question(reference)
    first, second = logits(again.model, ids, media), logits(pretrained.model, ids, media)
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    messages = [Message("user", (as_part(snapshot()), Text("?")))]
    assert again.processor is not None
    assert pretrained.processor is not None
    one, other = (each.processor.encode_messages(messages) for each in (again, pretrained))  # type: ignore[union-attr]
    assert one.token_ids.tolist() == other.token_ids.tolist()


def test_words_that_are_left_out_are_as_usual_in_their_family(tmp_path: Path) -> None:
    write(build(), tmp_path)
    edit_config(tmp_path, {"text_config": {"hidden_size": None}})
    with pytest.raises(CheckpointError, match=r"the configuration needs .*4096"):
        load_pretrained(tmp_path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"vision_feature_layer": [1, 2]}, r"vision_feature_layer = \[1, 2\] is not supported"),
    ({"vision_feature_layer": 0}, "vision_feature_layer = 0 is none of the 3 blocks"),
    ({"vision_feature_layer": -4}, "vision_feature_layer = -4 is none of the 3 blocks"),
    ({"vision_feature_layer": 4}, "vision_feature_layer = 4 is none of the 3 blocks"),
    ({"vision_feature_select_strategy": "middle"}, "vision_feature_select_strategy = 'middle'"),
    ({"projector_hidden_act": "mish"}, "projector_hidden_act 'mish' is not supported"),
    ({"vision_config": {"model_type": "pixtral"}}, "model_type 'pixtral' is not supported"),
    ({"vision_config": {"model_type": "siglip_vision_model"}}, "default drops the first of SigLIP's patches"),
    ({"text_config": {"model_type": "gemma"}}, "model_type 'gemma' is not supported"),
    ({"text_config": {"hidden_act": "mish"}}, "hidden_act 'mish' is not supported"),
    ({"text_config": {"attention_bias": "x"}}, "attention_bias|qkv_bias"),
    ({"quantization_config": {"bits": 4}}, "quantization_config = .* is not supported"),
    ({"image_token_index": 7}, "image_token_id = 7 is no control token of the tokenizer"),
    ({"image_token_index": 999}, "image_token_id = 999 is no control token"),
    ({"vision_config": {"image_size": 18}}, "not a multiple of patch_size"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_we_do_not_compute_is_refused(changes: dict[str, Any], message: str, folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    edit_config(tmp_path, changes)
    with pytest.raises(ConfigError, match=message) as found:
        load_pretrained(tmp_path)
    assert "\n" not in str(found.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(), tmp_path_factory.mktemp("llava"))


def test_a_missing_or_surplus_tensor_is_named(tmp_path: Path) -> None:
    reference = build()
    write(reference, tmp_path)
    rename(tmp_path, reference.state_dict(), published)
    whole = load_file(tmp_path / "model.safetensors")
    lost = "multi_modal_projector.linear_2.bias"
    save_file({name: tensor for name, tensor in whole.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"lacks the tensor '{lost}'"):
        load_pretrained(tmp_path)
    for more in ("vision_tower.vision_model.encoder.layers.3.mlp.fc1.bias", "image_newline"):
        save_file(whole | {more: torch.zeros(3)}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"{more}', which the configuration has no use for"):
            load_pretrained(tmp_path)
