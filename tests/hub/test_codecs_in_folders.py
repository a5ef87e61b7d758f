"""Models with codecs as folders: what was saved draws and speaks as before, and codecs can be added later."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import IMAGE_CODEC, MAKING, SPEECH_CODEC, make_config, make_model, scribble, tokenizer
from media_parts import tone
from numpy.typing import NDArray
from safetensors.torch import load_file

import sensorium
from sensorium.config import ImageCodecConfig, ModelConfig, SpeechCodecConfig
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.growing import grown
from sensorium.hub.pretrained import coding
from sensorium.messages import Audio, Message, Text
from sensorium.processing.processor import Processor

TALK = [
    Message.user([scribble(1), Text("Redder, and say it."), tone(0.3)]),
    Message.assistant([Text("Here: "), scribble(2), Text("Ah."), tone(0.4)]),
]


def samples_in(sound: Audio) -> NDArray[np.int32]:
    """The samples of a 16-bit WAV file."""
    assert sound.data is not None
    with wave.open(io.BytesIO(sound.data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int32)


def test_a_saved_model_draws_and_speaks_as_before(tmp_path: Path) -> None:
    before = make_model()
    before.save(tmp_path / "maker")
    after = sensorium.load(tmp_path / "maker", threads=1)
    assert after.config == before.config
    ids = [model.processor.encode_messages(TALK).token_ids.tolist() for model in (before, after)]
    assert ids[0] == ids[1]
    assert after.draw("A ball.", seed=1, image_guidance=2.0) == before.draw("A ball.", seed=1, image_guidance=2.0)
    assert after.say("The cat sat.", seed=1) == before.say("The cat sat.", seed=1)
    copied = [samples_in(model.say("The cat.", voice=tone(), seed=1)) for model in (before, after)]
    assert len(copied[0]) == len(copied[1]) > 0
    # Where weights lie in memory may decide how a CPU sums them, by the last bit of a sample.
    assert np.abs(copied[0] - copied[1]).max() <= 2
    stored = load_file(tmp_path / "maker" / "model.safetensors")
    assert {name.partition(".")[0] for name in stored} == {
        "decoder", "vision", "speech", "image_codec", "speech_codec"
    }  # fmt: skip


def test_a_model_stored_in_half_precision_codes_by_the_weights_it_has(tmp_path: Path) -> None:
    pretrained = make_model()._pretrained
    save_pretrained(pretrained, tmp_path / "half", dtype=torch.float16)
    loaded = load_pretrained(tmp_path / "half")
    half = load_pretrained(tmp_path / "half", dtype=torch.float16)
    assert loaded.processor is not None
    assert half.processor is not None
    assert loaded.processor.codecs is not None
    assert loaded.processor.codecs.image is loaded.model.image_codec
    assert half.model.dtype == torch.float16
    ids = [each.processor.encode_messages(TALK).token_ids.tolist() for each in (loaded, half)]
    assert ids[0] == ids[1]


def test_the_processor_of_a_model_has_its_codecs() -> None:
    omni = make_model()._pretrained.model
    processor = coding(Processor(tokenizer()), omni)
    assert processor.codecs is not None
    assert (processor.codecs.image, processor.codecs.speech) == (omni.image_codec, omni.speech_codec)
    plain = coding(Processor(tokenizer()), make_model(draws=False, voices=None)._pretrained.model)
    assert plain.codecs is None
    assert plain.config is not None
    assert processor.with_config(plain.config).codecs is None
    assert processor.with_tokenizer(tokenizer()).codecs is processor.codecs


@pytest.mark.parametrize("parts", [{"draws": True, "voices": None}, {"draws": False}, {"draws": True}])
def test_codecs_are_added_and_words_mean_what_they_meant(parts: dict[str, Any]) -> None:
    small = make_model(draws=False, voices=None)
    size = small.config.decoder.vocab_size
    config = make_config(**parts)
    large = grown(small._pretrained, config, small.processor, seed=7)
    weights = large.model.state_dict()
    for name, weight in small._pretrained.model.state_dict().items():
        assert torch.equal(weights[name][: len(weight)], weight)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        after, before = large.model.logits(ids), small._pretrained.model.logits(ids)
    torch.testing.assert_close(after[..., :size], before)
    assert after.shape[-1] == config.decoder.vocab_size
    processor = coding(small.processor, large.model)
    assert processor.codecs is not None
    if parts["draws"]:
        assert len(processor.codecs.picture_ids(scribble())) == 6
    again = grown(small._pretrained, config, small.processor, seed=7).model.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_codecs_of_a_model_keep_their_codes_when_another_is_added() -> None:
    draws = make_model(voices=None)
    config = make_config()
    large = grown(draws._pretrained, config, draws.processor, seed=7)
    assert draws.config.image_codec == large.config.image_codec
    before, after = (coding(draws.processor, each) for each in (draws._pretrained.model, large.model))
    talk = [Message.user("A ball."), Message.assistant([scribble()])]
    assert after.encode_messages(talk).token_ids.tolist() == before.encode_messages(talk).token_ids.tolist()


def test_a_recipe_finds_the_place_of_codes(tmp_path: Path, talker: Path, talk_file: Path) -> None:
    """Behind the words, and behind the codes that are there; those stay, and so do the weights."""
    import yaml

    from sensorium.train import load_recipe, train

    def grow(name: str, init: Path, **parts: Any) -> Path:
        stage = {"objective": "chat", "data": [{"path": str(talk_file)}], "rows": 2, "time": 96, "budget": {"steps": 1}}
        recipe = {"init": str(init), **parts, "save_dtype": "float32", "stages": [{**stage, "lr": 1e-9}]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        return train(load_recipe(tmp_path / f"{name}.yaml"), tmp_path / name, device="cpu")

    image, speech = MAKING["image_codec"], MAKING["speech_codec"]
    words = load_pretrained(talker).config.decoder.vocab_size
    first = grow("draws", talker, image_codec=image)
    draws = load_pretrained(first)
    assert draws.config.image_codec == ImageCodecConfig(first_id=words, **IMAGE_CODEC)
    assert draws.config.decoder.vocab_size == words + 12
    both = grow("both", first, image_codec=image, speech_codec=speech)
    loaded = load_pretrained(both)
    assert loaded.config.image_codec == draws.config.image_codec
    assert loaded.config.speech_codec == SpeechCodecConfig(first_id=words + 12, **SPEECH_CODEC)
    assert loaded.config.decoder.vocab_size == words + 24
    stored, added = draws.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(weight, added[name]) for name, weight in stored.items() if name.startswith("image_codec"))
    model = sensorium.load(both, threads=1)
    assert model.chat("What is a cat?", reply="text", temperature=0.0).text == "A cat is red."  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="has image_codec already, with other settings"):
        grow("other", both, image_codec={**image, "levels": [5, 5]})


def test_a_fresh_models_codes_follow_its_words() -> None:
    config = make_config()
    assert ModelConfig.parse(config.model_dump(mode="json"), "test") == config
