"""Which weights move, how far, and by whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.errors import ConfigError
from sensorium.nn.omni import Omni
from sensorium.train.average import Average
from sensorium.train.optim import Muon, Optimizers, lr_factors, orthogonalise
from sensorium.train.recipe import Stage


def stage(**settings: Any) -> Stage:
    return Stage(data=({"path": "text.txt"},), budget={"steps": 1}, **settings)  # type: ignore[arg-type]


def model(*, tied: bool = True) -> Omni:
    decoder = TransformerConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_positions=8, tie_embeddings=tied, mlp_bias=True
    )
    built = Omni(ModelConfig(decoder=decoder))
    built.reset_parameters(0)
    return built


def with_gradients(built: Omni, seed: int = 1) -> Omni:
    generator = torch.Generator().manual_seed(seed)
    for weight in built.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    return built


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 20), (2, 20, 8), (2, 16, 40), (2, 40, 16)])
def test_orthogonalised_matrices_keep_their_directions_and_lose_their_sizes(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, before, vh = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalise(matrices)
    sizes = torch.linalg.svdvals(result)
    assert before.max() / before.min() > 1.5
    assert sizes.min() > 0.6
    assert sizes.max() < 1.25
    along = u.mT @ result @ vh.mT  # diagonal where the singular vectors are the same
    assert torch.allclose(along, torch.diag_embed(torch.diagonal(along, dim1=-2, dim2=-1)), atol=1e-4)


def test_muon_steps_along_the_orthogonalised_look_ahead_momentum() -> None:
    weight = nn.Parameter(torch.randn(6, 10, generator=torch.Generator().manual_seed(0)))
    muon = Muon([{"params": [weight]}], lr=0.1, momentum=0.9, weight_decay=0.5)
    expected, velocity = weight.detach().clone(), torch.zeros(6, 10)
    for seed in range(3):
        gradient = torch.randn(6, 10, generator=torch.Generator().manual_seed(10 + seed))
        weight.grad = gradient.clone()
        muon.step()
        velocity = 0.9 * velocity + 0.1 * gradient
        ahead = 0.1 * gradient + 0.9 * velocity
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 10**0.5 * orthogonalise(ahead[None])[0]
        assert torch.allclose(weight, expected, atol=1e-6)


def test_muon_moves_the_hidden_matrices_and_adamw_the_rest() -> None:
    for tied in (True, False):
        optimizers = Optimizers(with_gradients(model(tied=tied)), stage(optimizer="muon"))
        optimizers.step(1.0)
        by_muon = {name.partition("/")[2] for name in optimizers.tensors() if name.startswith("velocity/")}
        by_adamw = {name.partition("/")[2] for name in optimizers.tensors() if name.startswith("exp_avg/")}
        linear = {
            f"decoder.blocks.{i}.{part}.weight"
            for i in range(2)
            for part in ("attention.q", "attention.k", "attention.v", "attention.o", "mlp.gate", "mlp.up", "mlp.down")
        }
        assert by_muon == linear
        assert by_adamw == {name for name, _ in model(tied=tied).named_parameters()} - linear
        assert "decoder.embeddings.token.weight" in by_adamw
        assert ("decoder.head.weight" in by_adamw) is not tied


def test_adamw_is_pytorchs_with_decay_on_matrices_only() -> None:
    ours, theirs = with_gradients(model()), with_gradients(model())
    Optimizers(ours, stage(lr=0.01, weight_decay=0.3)).step(0.5)
    matrices = [weight for weight in theirs.parameters() if weight.ndim == 2]
    others = [weight for weight in theirs.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=0.005, betas=(0.9, 0.95)).step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, reference, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_weights_stay_and_get_no_gradient(optimizer: str) -> None:
    built, before = model(), dict(model().named_parameters())
    optimizers = Optimizers(built, stage(optimizer=optimizer, freeze=["decoder.embeddings.*", "*.blocks.0.*"]))
    built.decoder.loss(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])).backward()
    optimizers.step(1.0)
    for name, weight in built.named_parameters():
        frozen = "embeddings" in name or "blocks.0" in name
        assert weight.requires_grad is not frozen
        assert torch.equal(weight, before[name]) is frozen, name


def test_learning_rates_scale_by_the_last_pattern_that_matches() -> None:
    built, before = with_gradients(model()), model()
    scales = {"decoder.blocks.*": 0.5, "*.mlp.*": 0.0}
    Optimizers(built, stage(lr=0.01, weight_decay=0, lr_scale=scales)).step(1.0)
    moved = {
        name: float((weight - old).abs().max().detach())
        for (name, weight), old in zip(built.named_parameters(), before.parameters(), strict=True)
    }
    assert moved["decoder.final_norm.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["decoder.blocks.1.attention.q.weight"] == pytest.approx(0.005, rel=1e-3)
    assert moved["decoder.blocks.1.mlp.up.weight"] == 0.0


def test_patterns_that_match_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"freeze: 'decoder.block.\*' matches no weight \(they are called like"):
        Optimizers(model(), stage(freeze=["decoder.block.*"]))
    with pytest.raises(ConfigError, match="lr_scale: 'x' matches no weight"):
        lr_factors({"a": torch.zeros(1)}, {"x": 2.0})
    with pytest.raises(ConfigError, match="nothing to train"):
        Optimizers(model(), stage(freeze=["*"]))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_state_taken_back_goes_on_to_the_bit(optimizer: str) -> None:
    first = model()
    mine = Optimizers(first, stage(optimizer=optimizer))
    with_gradients(first, 1)
    mine.step(1.0)
    second = model()
    second.load_state_dict(first.state_dict())
    copy = Optimizers(second, stage(optimizer=optimizer))
    copy.load_tensors(mine.tensors())
    for built, optimizers in ((first, mine), (second, copy)):
        with_gradients(built, 2)
        optimizers.step(1.0)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_average_follows_the_weights_and_leaves_them_as_they_were() -> None:
    weight = nn.Parameter(torch.zeros(2))
    average = Average({"w": weight}, 0.9)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(1)
    assert average.tensors["w"].tolist() == pytest.approx([1 - 2 / 11] * 2)
    for step in range(2, 200):
        average.update(step)
    before = float(average.tensors["w"][0])
    with torch.no_grad():
        weight.fill_(2.0)
    average.update(200)
    assert float(average.tensors["w"][0]) == pytest.approx(0.9 * before + 0.1 * 2.0)
    with average.in_place():
        assert torch.equal(weight, average.tensors["w"])
    assert weight.tolist() == [2.0, 2.0]
