"""The painter: what its pictures depend on, and the vector that it paints by."""

from __future__ import annotations

import pytest
import torch
from media_parts import DECODER, hearing, model_of, picture, seeing, tone
from torch import Tensor

from sensorium.config import FusionConfig, ModelConfig, PainterConfig, TransformerConfig
from sensorium.errors import ConfigError
from sensorium.messages import Message, Text
from sensorium.nn.omni import Omni
from sensorium.nn.painter import Painter
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

SMALL = PainterConfig(size=(16, 24), dims=(8, 12, 6), style_dim=10, noise_dim=4)


def painter(seed: int = 0) -> Painter:
    made = Painter(SMALL, 16)
    made.reset_parameters(torch.Generator().manual_seed(seed))
    return made


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_picture_has_the_size_asked_for_and_pixels_within_their_range() -> None:
    made = painter()(50 * random(3, 16), 50 * random(3, 4))
    assert made.shape == (3, 3, 16, 24)
    assert made.abs().max() <= 1.0
    assert made.std() > 0.02


def test_every_picture_goes_by_its_own_vector_and_its_own_noise() -> None:
    paint, fused, noise = painter(), random(2, 16), random(2, 4, seed=1)
    both = paint(fused, noise)
    torch.testing.assert_close(paint(fused[1:], noise[1:]), both[1:], rtol=1e-4, atol=1e-5)
    assert (paint(fused, noise.flip(0)) - both).abs().mean() > 1e-3
    assert (paint(fused.flip(0), noise) - both).abs().mean() > 1e-3


def test_the_length_of_the_vector_does_not_matter() -> None:
    paint, fused, noise = painter(), random(2, 16), random(2, 4, seed=1)
    torch.testing.assert_close(paint(7 * fused, noise), paint(fused, noise), rtol=1e-3, atol=1e-4)


def test_weights_and_noise_are_those_of_their_seed() -> None:
    assert all(torch.equal(a, b) for a, b in zip(painter(3).parameters(), painter(3).parameters(), strict=True))
    first, again, other = (painter().noise(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_weight_has_a_part_in_the_picture() -> None:
    made = painter()
    made(random(4, 16), random(4, 4)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in made.parameters())


def test_by_default_it_is_small_and_its_work_is_counted() -> None:
    made = Painter(PainterConfig(), 256)
    assert 0.4e6 < sum(weight.numel() for weight in made.parameters()) < 0.6e6
    first, second = made.blocks[0].first.weight.numel(), made.blocks[0].second.weight.numel()
    assert 6 * (16 * first + 64 * second) < made.flops() < 1e9


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"size \(64, 60\) does not divide by 16"):
        PainterConfig.parse({"size": [64, 60]}, "here")


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(Tokenizer.train(["Draw a red ball. 画一个球。"] * 4, 340))


def omni(processor: Processor, **fusion: str) -> tuple[Omni, Processor]:
    parts = model_of(seeing(), hearing())
    config = ModelConfig.parse(dict(parts) | {"fusion": FusionConfig(**fusion), "painter": SMALL}, "test")
    model = Omni(config)
    model.reset_parameters(1)
    return model.eval(), processor.with_config(config)


@pytest.mark.parametrize("strategy", ["feature", "cross", "decision"])
def test_the_vector_has_read_words_pictures_and_speech_whatever_stands_beside(
    processor: Processor, strategy: str
) -> None:
    model, able = omni(processor, strategy=strategy)
    if strategy == "cross":
        for name, weight in model.fusion.named_parameters():
            if "gate" in name:
                torch.nn.init.constant_(weight, 1.0)

    def fused(*asked: list) -> Tensor:
        prompts = [able.encode_messages([Message.user(parts)], add_generation_prompt=True) for parts in asked]
        ids = torch.zeros((len(prompts), max(map(len, prompts))), dtype=torch.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.from_numpy(prompt.token_ids)
        return model.fused(ids, torch.tensor([*map(len, prompts)]), media_of([each.features for each in prompts]))

    asked = [
        [picture("red"), tone(0.5), Text("Draw.")],
        [picture("blue"), tone(0.5), Text("Draw.")],
        [picture("red"), tone(0.5, 2_000.0), Text("Draw.")],
        [picture("red"), tone(0.5), Text("Draw a red ball, 画一个球。")],
    ]
    together = fused(*asked)
    assert together.shape == (4, DECODER.dim)
    torch.testing.assert_close(together, torch.cat([fused(each) for each in asked]), rtol=1e-4, atol=1e-5)
    assert ((together[1:] - together[0]).abs().amax(1) > 1e-3).all()


def test_a_model_without_a_painter_draws_the_same_weights() -> None:
    decoder = TransformerConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=32)
    plain, able = Omni(ModelConfig(decoder=decoder)), Omni(ModelConfig(decoder=decoder, painter=SMALL))
    for model in (plain, able):
        model.reset_parameters(4)
    weights = able.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in plain.state_dict().items())
    assert able.n_parameters()["painter"] == sum(weight.numel() for weight in able.painter.parameters())
