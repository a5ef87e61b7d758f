"""Projectors give the decoder the vectors its settings promise, and padding never reaches them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sensorium.config import ProjectorConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.nn.projectors import Projector, make_projector

IN, OUT, GRID = 6, 8, 4
KINDS: dict[str, ProjectorConfig] = {
    "linear": ProjectorConfig(kind="linear"),
    "mlp": ProjectorConfig(kind="mlp", hidden_dim=10, norm=True),
    "mlp without bias": ProjectorConfig(kind="mlp", bias=False),
    "shuffle": ProjectorConfig(kind="pixel_shuffle", factor=2, bias=False),
    "shuffle with positions": ProjectorConfig(kind="pixel_shuffle", factor=2, positions=True, output_norm=True),
    "resampler": ProjectorConfig(kind="resampler", n_queries=3, n_heads=2),
    "resampler with all": ProjectorConfig(
        kind="resampler", n_queries=3, n_heads=2, norm=True, positions=True, output_norm=True
    ),
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(name: str, grid: int | None, seed: int = 0) -> Projector:
    config = KINDS[name]
    places = config.n_image(GRID**2, GRID) if grid else config.n_audio(20)
    projector = make_projector(config, IN, OUT, grid=grid, max_places=places)
    projector.reset_parameters(torch.Generator().manual_seed(seed))
    return projector.eval()


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_takes_the_places_its_settings_say(name: str) -> None:
    projected, lengths = build(name, GRID)(noise(2, GRID**2, IN))
    places = KINDS[name].n_image(GRID**2, GRID)
    assert projected.shape == (2, places, OUT)
    assert lengths.tolist() == [places, places]


@pytest.mark.parametrize("features", [1, 2, 5, 11])
@pytest.mark.parametrize("name", KINDS)
def test_a_recording_takes_the_places_its_settings_say_and_padding_none(name: str, features: int) -> None:
    projector = build(name, None)
    recording = noise(1, features, IN)
    alone, places = projector(recording, torch.tensor([features]))
    assert places.tolist() == [KINDS[name].n_audio(features)]
    batch = noise(2, 13, IN, seed=1)
    batch[1, :features] = recording[0]
    projected, lengths = projector(batch, torch.tensor([13, features]))
    assert lengths.tolist() == [KINDS[name].n_audio(13), int(places)]
    torch.testing.assert_close(projected[1, : int(places)], alone[0, : int(places)], rtol=1e-4, atol=1e-5)


def test_a_shuffled_vector_joins_a_square_of_neighbours() -> None:
    projector = make_projector(ProjectorConfig(kind="pixel_shuffle", factor=2), 1, 4, grid=4, max_places=4)
    with torch.no_grad():
        projector.map.weight.copy_(torch.eye(4))
        projector.map.bias.zero_()
    places, _ = projector(torch.arange(16.0).view(1, 16, 1))
    assert places[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("name", KINDS)
def test_fresh_weights_come_from_the_generator_alone(name: str) -> None:
    first, second = build(name, GRID), build(name, GRID)
    for tensor in second.state_dict().values():
        tensor.fill_(3.0)
    second.reset_parameters(torch.Generator().manual_seed(0))
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key
    assert not torch.equal(first(noise(1, 16, IN))[0], build(name, GRID, seed=1)(noise(1, 16, IN))[0])


@pytest.mark.parametrize("name", KINDS)
def test_every_weight_learns(name: str) -> None:
    projector = build(name, GRID)
    projected, _ = projector(noise(2, GRID**2, IN))
    (projected * noise(*projected.shape, seed=2)).sum().backward()
    for key, weight in projector.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.abs().sum() > 0 or key.endswith("attention.k.bias"), key  # softmax is blind to it


def test_more_places_than_positions_are_refused() -> None:
    projector = make_projector(ProjectorConfig(kind="linear", positions=True), IN, OUT, grid=None, max_places=4)
    with pytest.raises(RequestError, match="5 projected vectors exceed the 4 that have a position"):
        projector(noise(1, 5, IN))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_heads 3 does not divide the decoder's width of 8"):
        make_projector(ProjectorConfig(kind="resampler", n_heads=3), IN, OUT, grid=None, max_places=4)
