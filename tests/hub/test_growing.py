"""A model that gets more parts or tokens keeps what it knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fusing import make_config
from pairing import EARS, EYES, PARTS

import sensorium
from sensorium.config import FusionConfig, ModelConfig, SamplingConfig
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.hub.growing import grown, without_heads
from sensorium.hub.pretrained import Pretrained
from sensorium.nn.omni import Omni
from sensorium.train import load_recipe, train


def of(config: ModelConfig, seed: int = 1) -> Pretrained:
    model = Omni(config)
    model.reset_parameters(seed)
    return Pretrained(config, model, None, SamplingConfig(), None, "small")


def words_only(**decoder: Any) -> ModelConfig:
    return ModelConfig(decoder=make_config(**decoder).decoder)


@pytest.mark.parametrize("strategy", ["feature", "cross", "decision"])
def test_words_mean_what_they_meant(strategy: str) -> None:
    """With eyes, ears and a common space beside it, a decoder says of words alone what it said before."""
    small = of(words_only())
    large = grown(small, make_config(strategy), None, seed=7)
    assert None not in (large.model.vision, large.model.speech, large.model.embedder)
    for name, weight in small.model.state_dict().items():
        assert torch.equal(large.model.state_dict()[name], weight)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(large.model.logits(ids), small.model.eval().logits(ids))
    again = grown(small, make_config(strategy), None, seed=7).model.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in large.model.state_dict().items())
    other = grown(small, make_config(strategy), None, seed=8).model.state_dict()
    fresh = "vision.encoder.blocks.0.mlp.up.weight"
    assert not torch.equal(other[fresh], again[fresh])


@pytest.mark.parametrize("tied", [True, False])
def test_the_vocabulary_grows_below_the_rows_that_were(tied: bool) -> None:
    small = of(words_only(tie_embeddings=tied))
    table = small.model.decoder.embeddings.token.weight.detach()
    table += 3.0
    large = grown(small, words_only(tie_embeddings=tied, vocab_size=100), None, seed=7).model.decoder
    for old, new in ((table, large.embeddings.token.weight), (small.model.decoder.head.weight, large.head.weight)):
        assert new.shape == (100, 32)
        assert torch.equal(new[:61], old)
        fresh = new[61:]
        assert not torch.equal(fresh[0], fresh[1])
        assert (fresh.mean() - old.mean()).abs().item() < old.std().item()
    assert (large.head.weight is large.embeddings.token.weight) == tied


def test_half_precision_becomes_single() -> None:
    small = of(words_only())
    small.model.to(torch.float16)
    large = grown(small, make_config("feature"), None, seed=7)
    assert {weight.dtype for weight in large.model.parameters()} == {torch.float32}
    assert large.stored_dtype == torch.float32
    assert not large.model.training


@pytest.mark.parametrize(
    "settings",
    [{"n_layers": 3}, {"dim": 64}, {"hidden_dim": 96}, {"vocab_size": 60}, {"qk_norm": False}],
)
def test_what_does_not_fit_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"of small has shape .*, and the new model .*place"):
        grown(of(words_only()), words_only(**settings), None, seed=7)


def test_a_table_of_places_does_not_grow_as_one_of_tokens_does() -> None:
    larger = words_only(decoder="gpt2", max_positions=80)
    with pytest.raises(ConfigError, match=r"position\.weight of small has shape \(64, 32\).*place of shape \(80, 32\)"):
        grown(of(words_only(decoder="gpt2")), larger, None, seed=7)


def write(path: Path, recipe: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def test_a_recipe_adds_the_parts_that_init_lacks(tmp_path: Path, talker: Path, talk_file: Path) -> None:
    stage = {"objective": "chat", "data": [{"path": str(talk_file)}], "rows": 2, "time": 96, "budget": {"steps": 1}}
    still = {"save_dtype": "float32", "stages": [{**stage, "lr": 1e-9, "weight_decay": 0.0}]}
    recipe = write(tmp_path / "grow.yaml", {"init": str(talker), **PARTS, **still})
    folder = train(load_recipe(recipe), tmp_path / "grow", device="cpu")
    large, small = load_pretrained(folder), load_pretrained(talker)
    assert large.config.vision is not None
    assert large.config.speech is not None
    assert large.config.embedder is not None
    assert large.processor is not None
    assert {"<|image|>", "<|audio|>", "<|image_begin|>"} <= large.processor.tokenizer.control_ids.keys()
    weights = large.model.state_dict()
    for name, weight in small.model.state_dict().items():
        torch.testing.assert_close(weights[name][: len(weight)], weight, atol=1e-6, rtol=0.0)
    replies = [sensorium.load(path).chat("What is a cat?", temperature=0.0).text for path in (talker, folder)]
    assert replies[0] == replies[1] == "A cat is red."
    # A part that is there may be named again, but not with other settings.
    again = write(tmp_path / "again.yaml", {"init": str(folder), "vision": EYES, **still})
    assert load_pretrained(train(load_recipe(again), tmp_path / "again", device="cpu")).config == large.config
    other = write(tmp_path / "other.yaml", {"init": str(folder), "speech": {**EARS, "ctc": False}, **still})
    with pytest.raises(ConfigError, match=r"has speech already, with other settings \(leave speech out"):
        train(load_recipe(other), tmp_path / "other", device="cpu")


def test_the_first_fusion_that_is_asked_for_is_added(tmp_path: Path, talker: Path, talk_file: Path) -> None:
    stage = {"objective": "chat", "data": [{"path": str(talk_file)}], "rows": 2, "time": 96, "budget": {"steps": 1}}
    settings = {"init": str(talker), "vision": EYES, "fusion": {"strategy": "cross"}, "stages": [stage]}
    folder = train(load_recipe(write(tmp_path / "cross.yaml", settings)), tmp_path / "cross", device="cpu")
    assert load_pretrained(folder).config.fusion == FusionConfig(strategy="cross")


def test_maps_that_only_training_needs_are_left_out_at_the_end(tmp_path: Path, talker: Path, talk_file: Path) -> None:
    parts: dict[str, Any] = {"vision": {**EYES, "grounding": True}, "speech": {**EARS, "ctc": True}}
    stage = {"objective": "chat", "data": [{"path": str(talk_file)}], "rows": 2, "time": 96, "budget": {"steps": 1}}
    settings = {
        **parts,
        "init": str(talker),
        "save_dtype": "float32",
        "leave_out": ["vision.grounding", "speech.ctc"],
        "stages": [{**stage, "name": name} for name in ("first", "last")],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    folder = train(load_recipe(path), tmp_path / "run")
    before, after = load_pretrained(tmp_path / "run/stages/0-first/model"), load_pretrained(folder)
    heads = ("vision.grounding", "speech.ctc")
    assert any(name.startswith(heads[0]) for name in before.model.state_dict())
    assert any(name.startswith(heads[1]) for name in before.model.state_dict())
    left = [name for name in before.model.state_dict() if not name.startswith(heads)]
    assert list(after.model.state_dict()) == left
    assert after.config.vision is not None
    assert after.config.speech is not None
    assert not after.config.vision.grounding
    assert not after.config.speech.ctc
    assert isinstance(sensorium.load(folder).chat("Hi.", max_tokens=2).text, str)  # type: ignore[union-attr]
    # A stage that is added later goes on from the whole model.
    more = {**settings, "stages": [*settings["stages"], {**stage, "name": "more"}]}
    path.write_text(yaml.safe_dump(more), encoding="utf-8")
    assert load_pretrained(train(load_recipe(path), tmp_path / "run")).config == after.config
    last = load_pretrained(tmp_path / "run/stages/2-more/model")
    assert list(last.model.state_dict()) == list(before.model.state_dict())
    bare = without_heads(of(words_only()), heads)
    assert bare.config == words_only()
