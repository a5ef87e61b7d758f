"""Any eyes and ears join any decoder: what each knew is kept, and the whole trains, is saved and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from media_parts import picture, tone
from published_words import CHATML, write_words

import sensorium
from sensorium.config import FusionConfig, ProjectorConfig
from sensorium.errors import CheckpointError, ConfigError, SensoriumError
from sensorium.hub.encoders import load_speech, load_vision
from sensorium.hub.folder import load_pretrained
from sensorium.hub.graft import Joint, graft
from sensorium.messages import Message, Text

CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_BODY = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_EYES = _BODY | {"image_size": 16, "patch_size": 4}
_CAUSAL = _BODY | {"hidden_size": 32, "num_key_value_heads": 2, "max_position_embeddings": 160}
_NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def write_decoder(folder: Path, family: str = "qwen2", *, template: str | None = CHATML, **settings: Any) -> Path:
    """A decoder whose tokenizer has 303 tokens, and whose table has as many rows."""
    words = {"eos_token": "<|endoftext|>"} | ({"bos_token": "<|endoftext|>"} if family == "gpt2" else {})
    write_words(folder, CHAT, template=template, **words)
    body = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 160} if family == "gpt2" else _CAUSAL
    config = transformers.AutoConfig.for_model(family, **(body | {"vocab_size": 303} | _NO_ENDS | settings))
    torch.manual_seed(5)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_eyes(folder: Path, kind: str = "siglip") -> Path:
    torch.manual_seed(6)
    if kind == "resnet":
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        transformers.ResNetModel(transformers.ResNetConfig(**sizes)).save_pretrained(folder)
        file = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 32, "crop_pct": 0.875}
        (folder / "preprocessor_config.json").write_text(json.dumps(file))
        return folder
    if kind == "vit":
        model: Any = transformers.ViTModel(transformers.ViTConfig(**_EYES))
    elif kind == "clip":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**_EYES))
    else:
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**_EYES))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 16, "width": 16}, "do_center_crop": False})
    )
    return folder


def write_ears(folder: Path) -> Path:
    torch.manual_seed(7)
    config = transformers.WhisperConfig(
        num_mel_bins=8, d_model=24, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=8, max_source_positions=100, vocab_size=9, pad_token_id=0,
        bos_token_id=0, eos_token_id=0, decoder_start_token_id=0, begin_suppress_tokens=None,
    )  # fmt: skip
    transformers.WhisperModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_size": 8, "chunk_length": 2, "feature_extractor_type": "WhisperFeatureExtractor"})
    )
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    found = {family: write_decoder(folder / family, family) for family in ("gpt2", "llama", "qwen2", "qwen3")}
    found |= {kind: write_eyes(folder / kind, kind) for kind in ("vit", "clip", "siglip", "resnet")}
    return found | {"whisper": write_ears(folder / "whisper")}


# decoder, eyes, ears, how they are joined
PAIRS: dict[str, tuple[str, str | None, str | None, Joint]] = {
    "gpt2 sees by vit": ("gpt2", "vit", None, Joint()),
    "llama sees by clip": ("llama", "clip", None, Joint("linear")),
    "qwen2 sees by siglip": ("qwen2", "siglip", None, Joint("pixel_shuffle")),
    "qwen3 sees by resnet": ("qwen3", "resnet", None, Joint("resampler", queries=3)),
    "gpt2 hears by whisper": ("gpt2", None, "whisper", Joint("pixel_shuffle")),
    "qwen2 sees and hears": ("qwen2", "clip", "whisper", Joint()),
    "llama across": ("llama", "siglip", "whisper", Joint("resampler", fusion="cross")),
    "qwen3 by decision": ("qwen3", "vit", "whisper", Joint(fusion="decision")),
    "raw patches and frames": ("qwen2", "patches", "frames", Joint("linear", fusion="early")),
    "raw patches as features": ("gpt2", "patches", None, Joint("mlp")),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_what_each_part_knew_is_kept_and_the_whole_answers(pair: str, parts: dict[str, Path], tmp_path: Path) -> None:
    decoder, eyes, ears, joint = PAIRS[pair]
    trunk = load_pretrained(parts[decoder])
    vision, speech = (None if name is None else parts.get(name, name) for name in (eyes, ears))
    graft(parts[decoder], tmp_path / "whole", vision=vision, speech=speech, joint=joint, seed=3)
    whole = load_pretrained(tmp_path / "whole")
    assert whole.config.fusion == FusionConfig(strategy=joint.fusion or "feature")

    ids = torch.randint(0, 303, (2, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        said, before = whole.model.logits(ids)[..., :303].log_softmax(-1), trunk.model.logits(ids).log_softmax(-1)
    torch.testing.assert_close(said, before, rtol=1e-4, atol=1e-4)  # of words alone

    if isinstance(vision, Path):
        assert whole.model.vision is not None
        pixels = torch.randn(1, 3, *whole.config.vision.image.size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(whole.model.vision.encoder(pixels), load_vision(vision)[1](pixels))
    if isinstance(speech, Path):
        assert whole.model.speech is not None
        sound = torch.randn(1, 8, 200, generator=torch.Generator().manual_seed(1))
        full = torch.tensor([200])
        with torch.no_grad():
            heard = whole.model.speech.encoder(sound, full)[0]
            torch.testing.assert_close(heard, load_speech(speech)[1](sound, full)[0], rtol=1e-4, atol=1e-5)

    model = sensorium.load(tmp_path / "whole")
    shown = {"image": picture()} if vision is not None else {}
    shown |= {"audio": tone(0.4)} if speech is not None else {}
    one = model.chat("What is this?", temperature=0.0, max_tokens=4, **shown)
    assert one.role == "assistant"
    assert one == model.chat("What is this?", temperature=0.0, max_tokens=4, **shown)


def test_projectors_of_every_kind_have_the_places_they_say(parts: dict[str, Path], tmp_path: Path) -> None:
    expected = {"mlp": (16, 100), "linear": (16, 100), "pixel_shuffle": (4, 25), "resampler": (3, 3)}
    for kind, places in expected.items():
        joint = Joint(kind, queries=3)  # type: ignore[arg-type]
        config = graft(
            parts["qwen2"], tmp_path / kind, vision=parts["siglip"], speech=parts["whisper"], joint=joint
        ).config
        assert (config.image_places(), config.audio_places(200)) == places
        assert config.vision is not None
        assert config.vision.projector is not None
        assert config.vision.projector.kind == kind


def test_a_tokenizer_gains_the_placeholders_it_lacks_once(parts: dict[str, Path], tmp_path: Path) -> None:
    before = load_pretrained(parts["qwen2"])
    whole = graft(parts["qwen2"], tmp_path / "one", vision=parts["siglip"])
    assert before.processor is not None
    assert whole.processor is not None
    added = {"<|image|>": 303, "<|image_begin|>": 304, "<|image_end|>": 305}
    assert dict(whole.processor.tokenizer.control_ids) == dict(before.processor.tokenizer.control_ids) | added
    assert whole.config.decoder.vocab_size == 306
    both = graft(tmp_path / "one", tmp_path / "both", speech=parts["whisper"])
    assert both.config.decoder.vocab_size == 309
    assert both.config.vision == whole.config.vision
    state = both.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(state[name][: len(weight)] if weight.ndim else state[name], weight), name


def test_rows_to_spare_are_used_first(tmp_path: Path) -> None:
    decoder = write_decoder(tmp_path / "decoder", vocab_size=320)
    whole = graft(decoder, tmp_path / "whole", vision=write_eyes(tmp_path / "eyes"))
    assert whole.config.decoder.vocab_size == 320


def written(folder: Path, messages: list[Message]) -> str:
    processor = load_pretrained(folder).processor
    assert processor is not None
    sequence = processor.encode_messages(messages)
    shown = processor.tokenizer.decode(sequence.token_ids, controls=True)
    return shown.replace("<|image|>" * 16, "[16]")


def test_a_template_that_knows_no_pictures_keeps_its_form(parts: dict[str, Path], tmp_path: Path) -> None:
    graft(parts["llama"], tmp_path / "whole", vision=parts["siglip"])
    question = Message("user", (Text("Look: "), picture(), Text("?")))
    assert written(tmp_path / "whole", [question, Message.assistant("A cat.")]) == (
        "<|im_start|>user\nLook: <|image_begin|>[16]<|image_end|>?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
    )


def test_a_decoder_that_only_continued_text_converses_plainly(tmp_path: Path) -> None:
    decoder = write_decoder(tmp_path / "gpt2", "gpt2", template=None)
    whole = graft(decoder, tmp_path / "whole", vision=write_eyes(tmp_path / "eyes"))
    conversation = [Message("user", (picture(), Text("?"))), Message.assistant("A cat."), Message.user("So?")]
    assert written(tmp_path / "whole", conversation) == (
        "<|endoftext|>User:\n<|image_begin|>[16]<|image_end|>?\nAssistant:\nA cat.<|endoftext|>\nUser:\nSo?\n"
    )
    assert whole.processor is not None
    sequence = whole.processor.encode_messages(conversation)
    learned = whole.processor.tokenizer.decode(sequence.token_ids[sequence.learned], controls=True)
    assert learned == "A cat.<|endoftext|>"
    prompt = whole.processor.encode_messages(conversation[:1], add_generation_prompt=True)
    assert sequence.token_ids[: len(prompt)].tolist() == prompt.token_ids.tolist()


def test_a_template_that_takes_parts_writes_the_placeholder_itself(tmp_path: Path) -> None:
    template = (
        "{%- for message in messages %}{{ message.role }}: {% if message.content is string %}{{ message.content }}"
        "{% else %}{% for part in message.content %}{% if part.type == 'image' %}<|image|>"
        "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    )
    decoder = write_decoder(tmp_path / "decoder", template=template)
    graft(decoder, tmp_path / "whole", vision=write_eyes(tmp_path / "eyes"))
    question = Message("user", (Text("Look: "), picture(), Text("?")))
    shown = "user: Look: <|image_begin|>[16]<|image_end|>?<|im_end|>"
    assert written(tmp_path / "whole", [question]) == shown


def test_eyes_and_ears_of_a_model_of_ours(parts: dict[str, Path], tmp_path: Path) -> None:
    first = graft(parts["qwen2"], tmp_path / "first", vision=parts["clip"], speech=parts["whisper"])
    second = graft(parts["gpt2"], tmp_path / "second", vision=tmp_path / "first", speech=tmp_path / "first")
    assert first.model.vision is not None
    assert second.model.vision is not None
    theirs = first.model.vision.encoder.state_dict()
    for name, weight in second.model.vision.encoder.state_dict().items():
        assert torch.equal(weight, theirs[name]), name
    assert second.config.speech == first.config.speech


def test_the_new_parts_train_while_the_rest_stands_still(parts: dict[str, Path], tmp_path: Path) -> None:
    from sensorium.train import Recipe, train

    graft(parts["qwen2"], tmp_path / "whole", vision=parts["siglip"], speech=parts["whisper"], joint=Joint("resampler"))
    (tmp_path / "red.png").write_bytes(picture().data or b"")
    (tmp_path / "tone.wav").write_bytes(tone(0.4).data or b"")
    content = [{"type": "image", "path": "red.png"}, {"type": "audio", "path": "tone.wav"}]
    content.append({"type": "text", "text": "What is this?"})  # type: ignore[dict-item]
    talk = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "A red tone."}]}
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    data = [{"path": str(tmp_path / "talk.jsonl")}]
    stage = {
        "objective": "chat", "data": data, "rows": 1, "time": 128, "lr": 1e-2, "budget": {"steps": 3}, "eval_every": 0,
        "freeze": ["decoder.*", "vision.encoder.*", "speech.encoder.*"],
    }  # fmt: skip
    recipe = Recipe.parse({"init": str(tmp_path / "whole"), "save_dtype": "float32", "stages": [stage]}, "test")
    trained = load_pretrained(train(recipe, tmp_path / "run"))
    before = load_pretrained(tmp_path / "whole").model.state_dict()
    moved = {name for name, weight in trained.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved
    assert {name.split(".projector.")[0] for name in moved} == {"vision", "speech"}


REFUSED: dict[str, tuple[Callable[[dict[str, Path], Path], dict[str, Any]], str]] = {
    "nothing to join": (lambda parts, _: {"decoder": parts["qwen2"]}, "nothing to join"),
    "no decoder": (lambda _, here: {"decoder": here / "no", "vision": "patches"}, "no model"),
    "no eyes there": (lambda parts, _: {"decoder": parts["qwen2"], "vision": parts["whisper"]}, "does not look"),
    "no ears there": (lambda parts, _: {"decoder": parts["qwen2"], "speech": parts["vit"]}, "does not listen"),
    "early fusion of an encoder": (
        lambda parts, _: {"decoder": parts["qwen2"], "vision": parts["vit"], "joint": Joint(fusion="early")},
        "early fusion takes raw input",
    ),
    "a factor that does not divide": (
        lambda parts, _: {"decoder": parts["qwen2"], "vision": parts["vit"], "joint": Joint("pixel_shuffle", factor=3)},
        "factor 3 does not divide the encoder's grid of 4",
    ),
    "a short context": (
        lambda parts, here: {
            "decoder": write_decoder(here / "short", max_position_embeddings=16), "vision": parts["vit"]
        },
        "a picture takes 16 places of a context of 16",
    ),
    "no tokenizer": (
        lambda _, here: {"decoder": without(write_decoder(here / "mute"), "tokenizer.json"), "vision": "patches"},
        "came without a tokenizer",
    ),
    "replies without an end": (
        lambda _, here: {"decoder": endless(write_decoder(here / "endless", template=None)), "vision": "patches"},
        "its replies would never end",
    ),
    "a template that takes no list": (
        lambda _, here: {
            "decoder": write_decoder(here / "strict", template="{{ raise_exception('texts only') }}"),
            "vision": "patches",
        },
        "the chat template of strict takes no pictures or recordings: .*texts only",
    ),
    "a template that forgets": (
        lambda _, here: {"decoder": write_decoder(here / "rude", template="<|im_start|>Hi"), "vision": "patches"},
        "the chat template of rude leaves out pictures",
    ),
}  # fmt: skip


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def endless(folder: Path) -> Path:
    write_words(folder, ("<|a|>", "<|b|>", "<|c|>"))
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together_is_refused_in_one_line(case: str, parts: dict[str, Path], tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(SensoriumError, match=message) as found:
        graft(folder=tmp_path / "whole", **make(parts, tmp_path))
    assert "\n" not in str(found.value)
    assert isinstance(found.value, ConfigError | CheckpointError)
    assert not (tmp_path / "whole").exists()


def test_a_second_pair_of_eyes_is_refused(parts: dict[str, Path], tmp_path: Path) -> None:
    graft(parts["qwen2"], tmp_path / "one", vision=parts["vit"])
    with pytest.raises(ConfigError, match="one has eyes already"):
        graft(tmp_path / "one", tmp_path / "two", vision=parts["vit"])
    with pytest.raises(ConfigError, match="fused by 'feature' already, which cannot become 'cross'"):
        graft(tmp_path / "one", tmp_path / "two", speech=parts["whisper"], joint=Joint(fusion="cross"))


def test_the_same_seed_gives_the_same_model(parts: dict[str, Path], tmp_path: Path) -> None:
    states = [
        graft(parts["qwen2"], tmp_path / str(index), vision=parts["vit"], seed=seed).model.state_dict()
        for index, seed in enumerate((1, 1, 2))
    ]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert not torch.equal(states[0]["vision.projector.map.up.weight"], states[2]["vision.projector.map.up.weight"])
    assert load_pretrained(tmp_path / "0").config.vision.projector == ProjectorConfig()  # type: ignore[union-attr]
