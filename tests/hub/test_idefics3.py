"""Idefics3 and SmolVLM read whole: the logits of `transformers` for every tile, written as its processor does."""

from __future__ import annotations

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
    switched,
)
from published_words import write_words
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.messages import Message, Text
from sensorium.nn.media import Media

VOCAB, IMAGE = 330, 304
SPECIALS = (
    "<|im_start|>", "<end_of_utterance>", "<|endoftext|>", "<fake_token_around_image>", "<image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)),
)  # fmt: skip
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
SIDE = 16
VISION = EYES | {"image_size": SIDE, "patch_size": 4}
KINDS = ("Idefics3", "SmolVLM")


def build(
    kind: str = "Idefics3", vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **settings: Any
) -> Any:
    ends = {"bos_token_id": 300, "eos_token_id": 301, "pad_token_id": None}
    words = {"model_type": "llama", "vocab_size": VOCAB} | TEXT | ends | (text or {})
    config = getattr(transformers, f"{kind}Config")(
        vision_config=VISION | (vision or {}), text_config=words, image_token_id=IMAGE, pad_token_id=302, **settings
    )
    made = getattr(transformers, f"{kind}ForConditionalGeneration")
    model = randomise(made._from_config(config, attn_implementation="eager"))
    model.tie_weights()
    return model


def write(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    write_words(folder, SPECIALS, template=TEMPLATE, bos_token="<|im_start|>", eos_token="<end_of_utterance>")
    edge = {"longest_edge": model.config.vision_config.image_size}
    edit_config(folder, {"size": {"longest_edge": 48}, "max_image_size": edge}, "preprocessor_config.json")
    return folder


def places(model: Any) -> int:
    eyes = model.config.vision_config
    return (eyes.image_size // eyes.patch_size // model.config.scale_factor) ** 2


def question(model: Any) -> tuple[Tensor, Tensor, Media]:
    """Ids with three tiles among them, their pixels (3, 3, side, side), and both as our media."""
    count, side = places(model), model.config.vision_config.image_size
    ids = [300, 5, 303, 306, *[IMAGE] * count, 303, 307, *[IMAGE] * count, 303, 305, *[IMAGE] * count, 303, 12, 99]
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(3))
    return torch.tensor([ids]), pixels, Media(images=pixels, image_places=torch.tensor(spans(ids, IMAGE, count)))


@torch.no_grad()
def expected(model: Any) -> Tensor:
    """Their logits, shown to depend on what is seen."""
    ids, pixels, _ = question(model)
    scores = model(input_ids=ids, pixel_values=pixels[None]).logits[0]
    other = model(input_ids=ids, pixel_values=pixels.flip(0)[None]).logits[0]
    assert scores.std() > 0.5
    assert (scores - other).std() > 0.05 * scores.std()
    return scores


# name: (their kind and settings; a change of ours that must break the comparison)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "idefics3": ({}, {"vision": {"encoder": {"final_norm": False}}}),
    "smolvlm": ({"kind": "SmolVLM"}, {"vision": {"encoder": {"n_heads": 1}}}),
    "a factor of 4": ({"kind": "SmolVLM", "scale_factor": 4}, {"vision": {"encoder": {"n_heads": 1}}}),
    "a factor of 1": ({"scale_factor": 1}, {"vision": {"encoder": {"n_heads": 1}}}),
    "the usual factor": ({}, {"vision": {"projector": {"factor": 1}}}),
    "eyes' layers": ({"vision": {"num_hidden_layers": 2}}, {"vision": {"encoder": {"n_layers": 1}}}),
    "eyes' gelu": ({"vision": {"hidden_act": "gelu"}}, {"vision": {"encoder": {"activation": "relu"}}}),
    "eyes' usual gelu": ({}, {"vision": {"encoder": {"activation": "gelu_quick"}}}),
    "eyes' norm eps": ({"vision": {"layer_norm_eps": 0.1}}, {"vision": {"encoder": {"norm_eps": 1e-6}}}),
    "eyes' biases": ({}, {"vision": {"encoder": {"qkv_bias": False}}}),
    "places in buckets": (
        {"vision": {"image_size": 76}, "scale_factor": 1, "text": {"max_position_embeddings": 2048}},
        {"vision": {"encoder": {"n_heads": 1}}},
    ),
    "theta": ({"text": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}},
              {"decoder": {"rope_theta": 10_000.0}}),
    "head size": ({"kind": "SmolVLM", "text": {"head_dim": 16}}, {"decoder": {"rope_theta": 10.0}}),
    "words' norm eps": ({"text": {"rms_norm_eps": 0.1}}, {"decoder": {"norm_eps": 1e-6}}),
    "tied tables": ({"tie_word_embeddings": True}, {"decoder": {"n_heads": 2}}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_until_the_setting_is_switched_off(case: str, tmp_path: Path) -> None:
    settings, off = CASES[case]
    reference = build(**settings)
    pretrained = load_pretrained(write(reference, tmp_path))
    ids, _, media = question(reference)
    theirs = expected(reference)
    assert difference(logits(pretrained.model, ids, media), theirs) < TOLERANCE
    other = switched(pretrained.config, pretrained.model, off)
    assert difference(logits(other, ids, media), theirs) > BREAKS


def test_patches_fall_into_the_buckets_that_were_trained(tmp_path: Path) -> None:
    reference = build(vision={"image_size": 76}, scale_factor=1)  # 19 patches a side
    model = load_pretrained(write(reference, tmp_path)).model
    assert model.vision is not None
    table = reference.state_dict()["model.vision_model.embeddings.position_embedding.weight"]
    assert not torch.equal(model.vision.encoder.state_dict()["position.weight"], table)


@pytest.mark.parametrize("kind", KINDS)
def test_names_as_published_and_as_saved(kind: str, tmp_path: Path) -> None:
    reference = build(kind)
    write(reference, tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {"model.connector.modality_projection.proj.weight", "model.text_model.embed_tokens.weight"} <= names
    assert {"model.vision_model.post_layernorm.weight", "lm_head.weight"} <= names
    rename(tmp_path, reference.state_dict(), lambda name: name)
    ids, _, media = question(reference)
    assert difference(logits(load_pretrained(tmp_path).model, ids, media), expected(reference)) < TOLERANCE


def test_every_tensor_matters(tmp_path: Path) -> None:
    reference = build()
    model = load_pretrained(write(reference, tmp_path)).model
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


@pytest.mark.parametrize("size", [(50, 37), (31, 90), (20, 20)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_is_written_as_the_processor_does(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    reference = build(kind)
    write(reference, tmp_path)
    words = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    settings = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": SIDE}}
    eyes = transformers.Idefics3ImageProcessorPil(**settings)
    processor = transformers.Idefics3Processor(eyes, words, image_seq_len=4, chat_template=TEMPLATE)
    processor.save_pretrained(tmp_path)
    pictures = [snapshot(*size), snapshot(24, 24)]
    parts = [{"type": "image"}, {"type": "text", "text": "What is this? "}, {"type": "image"}]
    conversation = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]},
    ]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    theirs = processor(images=pictures, text=text, return_tensors="pt")

    pretrained = load_pretrained(tmp_path)
    assert pretrained.processor is not None
    messages = [
        Message("user", (as_part(pictures[0]), Text("What is this? "), as_part(pictures[1]))),
        Message.assistant("A ball."),
    ]
    ours = pretrained.processor.encode_messages(messages, add_generation_prompt=True)
    assert ours.token_ids.tolist() == theirs["input_ids"][0].tolist()
    pixels = theirs["pixel_values"][0]
    assert len(ours.features) == len(pixels) > 1
    for feature, tile in zip(ours.features, pixels, strict=True):
        # Three passes of resizing, each within a level, which contrast may widen.
        assert (torch.from_numpy(feature.values) - tile).abs().max() < 4.01 / 127.5
    media = Media(
        images=pixels, image_places=torch.tensor([(0, feature.start, feature.length) for feature in ours.features])
    )
    with torch.no_grad():
        scores = reference(
            input_ids=theirs["input_ids"], pixel_values=theirs["pixel_values"],
            pixel_attention_mask=theirs["pixel_attention_mask"],
        ).logits[0]  # fmt: skip
    assert difference(logits(pretrained.model, theirs["input_ids"], media), scores) < TOLERANCE


def test_saved_as_ours_it_stays_the_same(tmp_path: Path) -> None:
    reference = build("SmolVLM")
    pretrained = load_pretrained(write(reference, tmp_path / "theirs"))
    save_pretrained(pretrained, tmp_path / "ours")
    again = load_pretrained(tmp_path / "ours")
    assert again.config == pretrained.config
    ids, _, media = question(reference)
    assert difference(logits(again.model, ids, media), expected(reference)) < TOLERANCE


PICTURES = "preprocessor_config.json"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("config.json", {"scale_factor": 3}, "factor 3 does not divide the encoder's grid of 4"),
    ("config.json", {"scale_factor": 0}, "scale_factor = 0 must be a whole number"),
    ("config.json", {"image_token_id": 5}, "image_token_id = 5 is no control token"),
    ("config.json", {"vision_config": {"hidden_act": "mish"}}, "hidden_act 'mish' is not supported"),
    ("config.json", {"vision_config": {"num_channels": 1}}, "num_channels = 1"),
    ("config.json", {"text_config": {"model_type": "bert"}}, "model_type 'bert' is not supported"),
    ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("config.json", {"vision_config": {"image_size": 32}}, "tiles of 16x16, but the encoder reads 32x32"),
    (PICTURES, {"do_image_splitting": False}, "do_image_splitting = False is not supported"),
    (PICTURES, {"do_resize": False}, "do_resize = False is not supported"),
    (PICTURES, {"do_rescale": False}, "do_rescale = False is not supported"),
    (PICTURES, {"size": {"height": 9}}, "size = .* is not supported"),
    (PICTURES, {"max_image_size": {"longest_edge": 32}}, "tiles of 32x32, but the encoder reads 16x16"),
    (PICTURES, {"resample": 9}, "resample = 9"),
    (PICTURES, {"image_processor_type": "CLIPImageProcessor"}, "only Idefics3's and SmolVLM's"),
    ("processor_config.json", {"image_seq_len": 169}, "image_seq_len = 169, but a tile becomes 4 vectors"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(), tmp_path_factory.mktemp("idefics3"))


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


def test_levels_and_filters_are_those_of_the_file(folder: Path, tmp_path: Path) -> None:
    for each in folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    edit_config(tmp_path, {"image_mean": [0.1, 0.2, 0.3], "do_normalize": True, "resample": 2}, PICTURES)
    config = load_pretrained(tmp_path).config
    assert config.vision is not None
    image = config.vision.image
    assert (image.mean, image.resample, image.longest_edge) == ((0.1, 0.2, 0.3), "bilinear", 48)
    (tmp_path / PICTURES).unlink()
    usual = load_pretrained(tmp_path).config.vision
    assert usual is not None
    assert (usual.image.resample, usual.image.longest_edge, usual.image.resize) == ("lanczos", 64, "tiles")


def test_a_missing_or_surplus_tensor_is_named(tmp_path: Path) -> None:
    write(build(), tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    lost = "model.connector.modality_projection.proj.weight"
    save_file({name: tensor for name, tensor in whole.items() if name != lost}, path)
    with pytest.raises(CheckpointError, match=f"lacks the tensor '{lost}'"):
        load_pretrained(tmp_path)
    save_file(whole | {"model.perceiver.queries": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"perceiver\.queries', which the configuration has no use for"):
        load_pretrained(tmp_path)
